"""Embedding and masked models behind a real server: vectors, and words for masks."""

from pathlib import Path

import numpy as np
import pytest
from servers import Server, serving

TEXTS = ["a film", "a much longer text about another film " * 20, "Çay içtik 🎉"]
MASKED = ["a [MASK] film", "the first [MASK] of two [MASK] is filled"]


@pytest.fixture(scope="module")
def embedding_server(embedding_folder: Path):
    with serving(embedding_folder, "--cache-size", "0") as server:
        yield server


@pytest.fixture(scope="module")
def masked_server(masked_folder: Path):
    with serving(masked_folder, "--cache-size", "0") as server:
        yield server


def test_vectors_are_those_of_the_plan_itself(embedding_server: Server, embedding_folder: Path):
    from ivme.tune.plan import load_plan

    with load_plan(embedding_folder) as predict:
        expected = predict(TEXTS)
    results = embedding_server.client.post("/v1/embed", json={"texts": TEXTS}).json()["results"]
    assert all(set(one) == {"vector"} for one in results)
    found = [one["vector"] for one in results]
    np.testing.assert_allclose(found, [one.vector for one in expected], atol=1e-5)


def test_a_single_vector_is_given_without_a_list(embedding_server: Server):
    ask = embedding_server.client.post
    one = ask("/v1/embed", json={"text": TEXTS[0]}).json()
    [same] = ask("/v1/embed", json={"texts": TEXTS[:1]}).json()["results"]
    assert one == same


def test_words_for_masks_are_those_of_the_plan_itself(masked_server: Server, masked_folder: Path):
    from ivme.tune.plan import load_plan

    with load_plan(masked_folder) as predict:
        expected = [{"text": predict(text).text} for text in MASKED]
    assert all(one["text"] for one in expected)
    results = masked_server.client.post("/v1/fill", json={"texts": MASKED}).json()["results"]
    assert results == expected
    assert masked_server.client.post("/v1/fill", json={"text": MASKED[0]}).json() == expected[0]


@pytest.mark.parametrize("text", ["a film", "", "a film " * 1000 + "[MASK]"])
def test_a_text_without_a_mask_that_is_read_is_refused_and_spoils_no_other(
    masked_server: Server, text: str
):
    refused = masked_server.client.post("/v1/fill", json={"text": text})
    assert (refused.status_code, refused.json()["code"]) == (422, "unreadable_text")
    assert "fills masks, and a text has no [MASK]" in refused.json()["error"]
    assert masked_server.client.post("/v1/fill", json={"text": MASKED[0]}).status_code == 200


def test_these_models_have_no_labels_and_so_no_predict(
    embedding_server: Server, masked_server: Server
):
    for server, route in ((embedding_server, "/v1/embed"), (masked_server, "/v1/fill")):
        answer = server.client.post("/predict", json={"text": TEXTS[0]})
        assert answer.status_code == 404
        assert answer.json()["error"].endswith(f"; use {route}")
