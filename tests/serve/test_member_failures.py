"""Processes of members that die or hang: answers stay true, and service comes back by itself."""

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import Server, serving, wait_for

TABULAR = {"DRF", "GBM", "GLM"}


def is_whole(server: Server) -> bool:
    return server.client.get("/health").json() == {"status": "ok", "members_down": {}}


def kill_models(server: Server, signal_number: int = signal.SIGKILL) -> None:
    for process in server.children():
        os.kill(process, signal_number)


def test_a_killed_model_is_started_again_and_the_request_answered(classifier_folder: Path):
    with serving(classifier_folder, "--cache-size", "0") as server:
        ask = {"json": {"text": "the same text"}}
        before = server.client.post("/v1/classify", **ask)
        kill_models(server)
        assert server.client.post("/v1/classify", **ask).json() == before.json()
        wait_for(lambda: is_whole(server))
        assert "was killed" in "".join(server.lines) or "died" in "".join(server.lines)
        assert (
            'ivme_member_restarts_total{member="model"} 1.0' in server.client.get("/metrics").text
        )


@pytest.mark.parametrize("characters", [6, 400_000])  # those fit no socket's buffer
def test_a_model_that_hangs_is_replaced_and_its_request_told(
    classifier_folder: Path, characters: int
):
    bounds = ("--timeout", "1", "--cache-size", "0", "--max-characters", "400000")
    with serving(classifier_folder, *bounds) as server:
        kill_models(server, signal.SIGSTOP)
        answer = server.client.post("/v1/classify", json={"text": "x" * characters})
        assert answer.status_code == 504
        assert answer.json()["code"] == "timeout"
        wait_for(
            lambda: server.client.post("/v1/classify", json={"text": "a film"}).status_code == 200
        )


@pytest.fixture(scope="module")
def ensemble_server(ensemble_folder: Path):
    with serving(ensemble_folder, "--cache-size", "0") as server:
        yield server


def members_of(answer: dict) -> set[str]:
    assert answer["ensemble"]["total_models"] == len(answer["individual_results"])
    votes = [one["prediction"] for one in answer["individual_results"].values()]
    assert answer["ensemble"]["vote_count"] == votes.count(answer["ensemble"]["prediction"])
    return set(answer["individual_results"])


def test_members_that_are_down_are_named_left_out_and_back_by_themselves(ensemble_server: Server):
    client, ask = ensemble_server.client, {"json": {"text": "an ensemble is asked for this"}}
    whole = client.post("/predict", **ask).json()
    assert members_of(whole) == {"BERT", *TABULAR}
    for process in ensemble_server.children():
        os.kill(process, signal.SIGKILL)
        found = client.post("/predict", **ask).json()
        assert members_of(found) in ({"BERT"}, TABULAR)
        down = wait_for(lambda: client.get("/health").json()["members_down"])
        assert set(down) in ({"BERT"}, TABULAR)
        assert all("it is being started again" in reason for reason in down.values())
        wait_for(lambda: is_whole(ensemble_server))
    assert client.post("/predict", **ask).json() == whole


def test_every_answer_is_true_while_members_die_amid_requests(ensemble_server: Server):
    texts = [f"text number {number} of those asked meanwhile" for number in range(120)]
    client = ensemble_server.client
    expected = {text: client.post("/predict", json={"text": text}).json() for text in texts[:10]}

    def ask(number: int) -> tuple[str, int, dict]:
        if number % 40 == 20:
            kill_models(ensemble_server)
        text = texts[number % 10]
        answer = client.post("/predict", json={"text": text})
        return text, answer.status_code, answer.json()

    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(ask, range(len(texts))))
    for text, status, answer in outcomes:
        if status == 503:
            assert answer["code"] in ("model_down", "starting")
            continue
        assert status == 200
        members_of(answer)
        for name, said in answer["individual_results"].items():
            reference = expected[text]["individual_results"][name]
            assert said["prediction"] == reference["prediction"]
            assert said["confidence"] == pytest.approx(reference["confidence"], abs=1e-5)
    wait_for(lambda: is_whole(ensemble_server))
    assert members_of(client.post("/predict", json={"text": texts[0]}).json()) == {"BERT", *TABULAR}


def test_a_member_that_cannot_load_is_named_and_holds_nothing_up(
    ensemble_folder: Path, tmp_path: Path
):
    folder = tmp_path / "model"
    shutil.copytree(ensemble_folder, folder)
    weights = next((folder / "BERT" / "artefact").glob("*.bin"))
    weights.write_bytes(bytes(weights.stat().st_size))
    with serving(folder) as server:
        assert members_of(server.client.post("/predict", json={"text": "a text"}).json()) == TABULAR
        down = server.client.get("/health").json()["members_down"]
        assert set(down) == {"BERT"}
        assert "cannot load its model" in down["BERT"]
