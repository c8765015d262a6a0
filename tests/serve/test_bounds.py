import asyncio
from pathlib import Path

import pytest

from ivme.errors import UsageError
from ivme.serve.bounds import DisconnectedError, checked_texts, read_body
from ivme.serve.configuration import ServeConfig
from ivme.serve.problems import Problem
from ivme.serve.token_estimates import LearnedEstimate, TokenCount

CONFIG = ServeConfig(folder=Path("model"), max_queue=3, max_characters=10)


def body_of(*pieces: bytes, headers=(), max_bytes: int = 10) -> bytes:
    """Read a body that arrives in pieces; the client goes away after the last one."""
    messages = [{"type": "http.request", "body": one, "more_body": True} for one in pieces]
    if messages:
        messages[-1]["more_body"] = False

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return asyncio.run(read_body(headers, receive, max_bytes=max_bytes, timeout_s=60))


def test_a_body_in_pieces_is_read_whole():
    assert body_of(b"abc", b"", b"def") == b"abcdef"


def test_a_declared_length_beyond_the_bound_is_refused_unread():
    with pytest.raises(Problem, match="more than 10 bytes"):
        body_of(headers=[(b"content-length", b"11")])


def test_pieces_beyond_the_bound_are_refused_whatever_was_declared():
    with pytest.raises(Problem, match="more than 10 bytes") as refused:
        body_of(b"123456", b"78901", headers=[(b"content-length", b"5")])
    assert (refused.value.status, refused.value.code) == (413, "body_too_large")


def test_a_client_that_leaves_while_sending_is_noticed():
    with pytest.raises(DisconnectedError):
        body_of()


def test_a_body_that_never_comes_is_refused_after_its_time():
    async def scenario() -> None:
        async def receive():
            await asyncio.Event().wait()

        await read_body([], receive, max_bytes=10, timeout_s=0)

    with pytest.raises(Problem, match="did not arrive within 0 s") as refused:
        asyncio.run(scenario())
    assert refused.value.status == 408


def test_lone_surrogates_are_read_as_replacement_characters():
    assert checked_texts(["a\ud800b", "\U0001f389"], CONFIG) == ["a\ufffdb", "\U0001f389"]


def test_a_text_may_be_as_long_as_allowed_and_no_longer():
    assert checked_texts(["x" * 10], CONFIG) == ["x" * 10]
    with pytest.raises(Problem, match="has 11 characters; this server reads up to 10"):
        checked_texts(["ok", "x" * 11], CONFIG)


def test_a_request_may_bring_as_many_texts_as_may_wait():
    assert len(checked_texts(["x"] * 3, CONFIG)) == 3
    with pytest.raises(Problem, match="4 texts in one request; send at most 3"):
        checked_texts(["x"] * 4, CONFIG)
    with pytest.raises(Problem, match="texts is empty"):
        checked_texts([], CONFIG)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "workers=0; expected 1 or more"),
        ({"timeout_s": float("nan")}, "timeout_s=nan; expected 0.001 or more"),
        ({"port": 65536}, "port=65536; expected 1 to 65535"),
        ({"max_batch_tokens": 0}, "max_batch_tokens=0; expected 1 or more"),
        ({"api_key": "short"}, "the API key is too short"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        ServeConfig(folder=Path("model"), **changes)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_addresses_that_stay_on_this_machine_are_known(host):
    assert ServeConfig(folder=Path("model"), host=host).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_addresses_that_others_reach_are_known(host):
    assert not ServeConfig(folder=Path("model"), host=host).is_loopback


def test_a_key_is_not_shown_with_the_settings():
    assert "secret-key" not in repr(ServeConfig(folder=Path("model"), api_key="secret-key"))


def test_token_estimates_follow_what_the_model_counted():
    estimate = LearnedEstimate(512)
    text = "ab" * 100
    assert estimate.tokens(text) == 52
    for _ in range(100):
        estimate.learn([text, text], 2 * (100 + 2))
    assert estimate.tokens(text) == 102
    assert estimate.tokens(text * 100) == 512


def test_texts_that_were_cut_teach_nothing():
    estimate = LearnedEstimate(10)
    estimate.learn(["x" * 1000], 10)
    assert estimate.tokens("x" * 16) == 6


def test_tokens_are_counted_as_the_model_counts_them(classifier_folder):
    from ivme.models.interface import TOKENIZER_FOLDER
    from ivme.tune.plan import load_plan

    texts = ["a film", "", "Çay içtik 🎉 " * 20, "word " * 5000, "x" * 100_000]
    with load_plan(classifier_folder) as predict:
        expected = predict.count_tokens(texts)
    count = TokenCount(classifier_folder / TOKENIZER_FOLDER, max(expected))
    assert [count.tokens(text) for text in texts] == expected
