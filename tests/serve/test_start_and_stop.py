"""How a server starts, says why it cannot, and stops in order."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from servers import COMMAND, DEADLINE_S, Server, serving, wait_for

CLASSIFY = {"json": {"text": "a film"}}


def run_and_fail(*arguments: object) -> tuple[int, str]:
    """Run `ivme serve`, which is to end by itself; return its status and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_folder_that_holds_nothing_to_serve_is_refused(tmp_path: Path):
    status, said = run_and_fail(tmp_path, "--port", 0)
    assert status == 2
    assert str(tmp_path) in said


def test_a_port_that_is_taken_is_named(classifier_folder: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said = run_and_fail(classifier_folder, "--port", port)
    assert status == 2
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in said


def test_a_damaged_plan_ends_the_server_with_its_reason(classifier_folder: Path, tmp_path: Path):
    folder = tmp_path / "plan"
    shutil.copytree(classifier_folder, folder)
    next((folder / "artefact").glob("*.bin")).write_bytes(b"damaged")
    status, said = run_and_fail(folder, "--port", 0)
    assert status == 2
    assert "openvino_model.bin" in said


def test_an_empty_key_file_is_refused(classifier_folder: Path, tmp_path: Path):
    key = tmp_path / "key"
    key.write_text("\n")
    status, said = run_and_fail(classifier_folder, "--api-key-file", key)
    assert status == 2
    assert "is empty; write the API key into it" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--timeout", "inf"), "timeout_s=inf; expected a finite number"),
        (("--timeout", "nan"), "timeout_s=nan; expected 0.001 or more"),
        (("--device", "cuda"), "device='cuda', but this plan is for 'cpu'"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(classifier_folder: Path, arguments, message: str):
    status, said = run_and_fail(classifier_folder, "--port", 0, *arguments)
    assert status == 2
    assert message in " ".join(said.split())


def test_listening_to_other_machines_without_a_key_is_warned_about(classifier_folder: Path):
    with serving(classifier_folder, "--host", "0.0.0.0") as server:
        assert "can be reached from other machines, and no key is asked for" in server.said()


def test_a_lazy_server_loads_at_its_first_request(classifier_folder: Path):
    with serving(classifier_folder, "--lazy") as server:
        assert server.children() == []
        assert server.client.post("/v1/classify", **CLASSIFY).status_code == 200
        assert len(server.children()) == 1


def hold_up(server: Server) -> None:
    """Stop the process that loads the model, as soon as it is there."""
    [model] = wait_for(server.children, server.said)
    os.kill(model, signal.SIGSTOP)


def test_a_server_says_that_it_is_starting_until_the_model_is_there(classifier_folder: Path):
    server = Server(classifier_folder, while_starting=hold_up)
    [model] = server.children()
    try:
        assert server.client.get("/health").status_code == 200
        for answer in (server.client.get("/ready"), server.client.post("/v1/classify", **CLASSIFY)):
            assert (answer.status_code, answer.json()["code"]) == (503, "starting")
            assert answer.headers["retry-after"] == "2"
        os.kill(model, signal.SIGCONT)
        server.wait_until_ready()
        assert server.client.post("/v1/classify", **CLASSIFY).status_code == 200
    finally:
        assert server.stop() == 0


def test_what_was_accepted_is_finished_after_sigterm_and_new_requests_are_refused(
    classifier_folder: Path,
):
    server = Server(classifier_folder).wait_until_ready()
    models = server.children()
    try:
        with ThreadPoolExecutor(1) as thread, httpx.Client(base_url=server.url) as other:
            os.kill(models[0], signal.SIGSTOP)
            accepted = thread.submit(lambda: server.client.post("/v1/classify", **CLASSIFY))
            wait_for(lambda: "ivme_running_texts 1.0" in other.get("/metrics").text)
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: other.get("/ready").status_code == 503)
            refused = other.post("/v1/classify", **CLASSIFY)
            assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
            assert refused.headers["connection"] == "close"
            os.kill(models[0], signal.SIGCONT)
            assert accepted.result(DEADLINE_S).status_code == 200
        assert server.process.wait(DEADLINE_S) == 0
    finally:
        server.stop()
    wait_for(lambda: not any(Path(f"/proc/{model}").exists() for model in models))


def test_what_is_not_finished_in_time_is_cut_off(classifier_folder: Path):
    server = Server(classifier_folder, "--stop-timeout", "0.1").wait_until_ready()
    [model] = server.children()
    try:
        with ThreadPoolExecutor(1) as thread, httpx.Client(base_url=server.url) as other:
            os.kill(model, signal.SIGSTOP)
            hanging = thread.submit(lambda: server.client.post("/v1/classify", **CLASSIFY))
            wait_for(lambda: "ivme_running_texts 1.0" in other.get("/metrics").text)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(DEADLINE_S) == 0
            with pytest.raises(httpx.HTTPError):
                hanging.result(DEADLINE_S).raise_for_status()
    finally:
        server.stop()
    assert "were cut off" in server.said()


def test_a_second_signal_ends_a_server_that_is_still_loading(classifier_folder: Path):
    server = Server(classifier_folder, "--lazy")
    try:
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(lambda: server.client.post("/v1/classify", **CLASSIFY))
            [model] = wait_for(server.children)
            os.kill(model, signal.SIGSTOP)
            server.process.send_signal(signal.SIGINT)
            wait_for(lambda: "1 requests under way" in server.said())
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(DEADLINE_S) == 0
            with pytest.raises(httpx.HTTPError):
                waiting.result(DEADLINE_S).raise_for_status()
    finally:
        server.stop()


def test_the_models_end_with_a_server_that_was_killed(classifier_folder: Path):
    server = Server(classifier_folder).wait_until_ready()
    models = server.children()
    assert models
    server.process.kill()
    server.stop()
    assert wait_for(lambda: not any(Path(f"/proc/{model}").exists() for model in models))
