"""A causal model behind a real server: whole texts, and texts piece by piece."""

import json
from pathlib import Path

import pytest
from servers import Server, serving, wait_for


@pytest.fixture(scope="module")
def server(causal_folder: Path):
    with serving(causal_folder, "--cache-size", "0") as server:
        yield server


def test_texts_are_those_of_the_plan_itself(server: Server, causal_folder: Path):
    from ivme.tune.plan import load_plan

    texts = ["Once upon a time", "The end"]
    with load_plan(causal_folder) as predict:
        expected = [predict(text).text for text in texts]
    found = server.client.post("/v1/generate", json={"texts": texts}).json()["results"]
    assert [one["text"] for one in found] == expected


def test_pieces_come_one_by_one_and_add_up_to_the_text(server: Server):
    prompt = {"text": "Once upon a time"}
    whole = server.client.post("/v1/generate", json=prompt).json()["text"]
    with server.client.stream("POST", "/v1/generate", json={**prompt, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    pieces = [json.loads(line.removeprefix("data: "))["text"] for line in lines[1::2]]
    assert names == ["piece"] * (len(names) - 1) + ["done"]
    assert len(pieces) > 50
    assert "".join(pieces[:-1]) == pieces[-1] == whole


def test_a_client_that_leaves_while_text_is_written_frees_the_model(server: Server):
    body = {"text": "Once upon a time", "stream": True}
    [model] = server.children()
    with server.client.stream("POST", "/v1/generate", json=body) as answer:
        next(answer.iter_lines())
    wait_for(lambda: server.metric("ivme_running_texts") == 0)
    assert server.client.post("/v1/generate", json={"text": "Next"}).status_code == 200
    assert server.children() == [model]


def test_an_empty_text_is_refused_and_spoils_no_other(server: Server):
    refused = server.client.post("/v1/generate", json={"text": ""})
    assert refused.status_code == 422
    assert refused.json()["code"] == "unreadable_text"
    streamed = server.client.post("/v1/generate", json={"text": "", "stream": True})
    assert '"code": "unreadable_text"' in streamed.text
    assert server.client.post("/v1/generate", json={"text": "a"}).status_code == 200


def test_only_one_text_is_streamed(server: Server):
    refused = server.client.post("/v1/generate", json={"texts": ["a", "b"], "stream": True})
    assert refused.status_code == 422
    assert "stream takes one text" in refused.json()["error"]
