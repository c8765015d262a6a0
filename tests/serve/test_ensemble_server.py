"""An ensemble behind a real server: the documented answer, labels, and judging as it happens."""

import json
from pathlib import Path
from typing import Any

import pytest
from servers import Server, serving

TEXT = "Dear 🎉 reader, this is a first sentence. And here comes another! Is it the third?"
MEMBERS = ["BERT", "DRF", "GBM", "GLM"]


@pytest.fixture(scope="module")
def server(ensemble_folder: Path):
    with serving(ensemble_folder) as server:
        yield server


def events_of(server: Server, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    answer = server.client.post("/v1/analyze", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def test_the_answer_is_that_of_the_predictor_itself(server: Server, ensemble_folder: Path):
    from ivme.ensemble.predictor import Predictor

    with Predictor.load(ensemble_folder, device="cpu", threads=1) as predictor:
        expected = predictor.predict_all(TEXT)
    found = server.client.post("/predict", json={"text": TEXT}).json()
    assert found.keys() == expected.keys()
    assert list(found["individual_results"]) == MEMBERS
    for name, said in expected["individual_results"].items():
        assert found["individual_results"][name] == {
            **said,
            "confidence": pytest.approx(said["confidence"], abs=1e-5),
        }
    assert found["ensemble"] == {
        **expected["ensemble"],
        "confidence": pytest.approx(expected["ensemble"]["confidence"], abs=1e-5),
    }


def test_labels_alone_are_given_for_one_text_and_for_several(server: Server):
    one = server.client.post("/v1/classify", json={"text": TEXT}).json()
    several = server.client.post("/v1/classify", json={"texts": [TEXT, "Short."]}).json()["results"]
    assert several[0] == one
    assert set(one["probabilities"]) == {"Human", "machine"}
    assert sum(one["probabilities"].values()) == pytest.approx(1)


def test_members_are_told_as_they_answer_and_sentences_at_the_end(server: Server):
    text = TEXT + " Never asked before."
    events = events_of(server, {"text": text, "sentences": True})
    names = [name for name, _ in events]
    assert names == ["start", *["member"] * 4, "ensemble", "sentences", "done"]
    start, *members, ensemble, sentences, _ = [content for _, content in events]
    assert start == {"members": MEMBERS, "words": 18}
    assert {one["name"] for one in members} == set(MEMBERS)
    fields = {"name", "prediction", "label", "confidence", "duration_ms"}
    assert all(set(one) == fields for one in members)
    assert (ensemble["total_models"], ensemble["cached"]) == (4, False)
    assert ensemble["calibrated"] is False  # no stacking was trained: it is the members' mean
    assert set(ensemble["probability"]) == {"human", "machine"}
    encoded = text.encode("utf-16-le")
    parts = [
        encoded[2 * one["start"] : 2 * one["end"]].decode("utf-16-le")
        for one in sentences["sentences"]
    ]
    assert parts[0] == "Dear 🎉 reader, this is a first sentence."
    assert len(parts) == 4


def test_what_curl_sends_is_analyzed(server: Server):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = json.dumps({"text": TEXT}).encode()
    answer = server.client.post("/v1/analyze", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.text.startswith("event: start")


def test_what_was_judged_before_comes_from_memory_by_every_route(server: Server):
    body = {"text": "Judged twice, and once more by another route."}
    first = events_of(server, body)
    again = events_of(server, body)
    assert [name for name, _ in again] == [name for name, _ in first]
    assert again[-2][1]["cached"] is True
    assert {**again[-2][1], "duration_ms": 0, "cached": 0} == {
        **first[-2][1],
        "duration_ms": 0,
        "cached": 0,
    }
    answer = server.client.post("/predict", json=body).json()
    assert answer["ensemble"]["confidence"] == first[-2][1]["confidence"]
    assert server.metric("ivme_cache_hits_total") >= 2


def test_a_text_that_is_too_long_is_refused_before_the_events_begin(server: Server):
    answer = server.client.post("/v1/analyze", json={"text": "x" * 100_001})
    assert answer.status_code == 413


def test_info_names_labels_members_and_the_least_words(server: Server):
    info = server.client.get("/v1/info").json()
    assert info["kind"] == "ensemble"
    assert info["members"] == MEMBERS
    assert info["labels"] == [
        {"label": "human", "name": "Human"},
        {"label": "machine", "name": "machine"},
    ]
    assert info["least_words"] == 5
    assert info["max_tokens"] == 64  # of BERT's plan; the other members read words


def test_two_workers_answer_alike(ensemble_folder: Path, server: Server):
    with serving(ensemble_folder, "--workers", "2") as pair:
        assert len(pair.children()) == 4
        expected = server.client.post("/predict", json={"text": TEXT}).json()
        assert pair.client.post("/predict", json={"text": TEXT}).json() == expected
