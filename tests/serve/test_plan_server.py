"""A plan behind a real server: answers, errors, headers, counts."""

import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from servers import Server, serving, wait_for

# What `curl -d` says of every body.
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LONE_SURROGATE = b'{"text": "cut in half: \\ud83c"}'


def test_answers_are_those_of_the_plan_itself(classifier_server: Server, classifier_folder: Path):
    from ivme.tune.plan import load_plan

    texts = ["a film", "", "a much longer text about another film " * 20, "Çay içtik 🎉"]
    with load_plan(classifier_folder) as predict:
        expected = predict(texts)
    results = classifier_server.client.post("/v1/classify", json={"texts": texts}).json()["results"]
    assert [one["label"] for one in results] == [one.label for one in expected]
    found = [list(one["probabilities"].values()) for one in results]
    np.testing.assert_allclose(found, [one.probabilities for one in expected], atol=1e-5)


def test_a_single_text_is_answered_without_a_list(classifier_server: Server):
    answer = classifier_server.client.post("/v1/classify", json={"text": "a film"}).json()
    assert set(answer) == {"label", "prediction", "confidence", "probabilities"}
    assert answer["label"] == f"LABEL_{answer['prediction']}"
    assert answer["confidence"] == max(answer["probabilities"].values())


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"text": "a film"}},
        {"json": {"text": "a film", "an": "old field"}},
        {"data": {"text": "a film"}},
        {"content": b'{"text": "a film"}'},
        {"content": b'{"text": "a film"}', "headers": {"Content-Type": "text/plain"}},
        {"content": b' {"text": "a film"}', "headers": FORM},
    ],
)
def test_old_clients_are_answered_in_the_documented_form(classifier_server: Server, sent):
    answer = classifier_server.client.post("/predict", **sent)
    assert answer.status_code == 200
    content = answer.json()
    assert set(content) == {"individual_results", "ensemble"}
    assert set(content["individual_results"]["model"]) == {"prediction", "confidence", "label"}
    assert content["ensemble"]["vote_count"] == content["ensemble"]["total_models"] == 1


@pytest.mark.parametrize("said", ["text/plain", FORM["Content-Type"], "application/json", ""])
def test_json_is_read_whatever_its_type_is_called(classifier_server: Server, said: str):
    body, headers = b'{"text": "a film"}', {"Content-Type": said}
    answer = classifier_server.client.post("/v1/classify", content=body, headers=headers)
    assert answer.status_code == 200
    assert set(answer.json()) == {"label", "prediction", "confidence", "probabilities"}


@pytest.mark.parametrize("route", ["/v1/classify", "/predict"])
def test_what_only_looks_like_json_under_a_forms_name_is_told_so(classifier_server: Server, route):
    answer = classifier_server.client.post(route, content=b"{text", headers=FORM)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
    assert "the body is no JSON" in answer.json()["error"]


def test_a_lone_surrogate_is_read_as_a_replacement_character(classifier_server: Server):
    cut = classifier_server.client.post("/v1/classify", content=LONE_SURROGATE)
    replaced = classifier_server.client.post("/v1/classify", json={"text": "cut in half: \ufffd"})
    assert cut.status_code == 200
    assert cut.json() == replaced.json()


@pytest.mark.parametrize("route", ["/v1/classify", "/predict"])
@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"", 422, "invalid_request", "body"),
        (b"{", 400, "invalid_json", "the body is no JSON"),
        (b"\xff\xfe", 400, "invalid_json", "the body is no JSON"),
        (b"[" * 50_000, 400, "", ""),
        (b"{}", 422, "invalid_request", ""),
        (b"[]", 422, "invalid_request", "body"),
        (b'"text"', 422, "invalid_request", "body"),
        (b"null", 422, "invalid_request", ""),
        (b'{"text": 1}', 422, "invalid_request", "text: Input should be a valid string"),
        (b'{"text": null}', 422, "invalid_request", "text: Input should be a valid string"),
        (b'{"text": ["a"]}', 422, "invalid_request", "text: Input should be a valid string"),
        (b'{"text": "%s"}' % (b"x" * 100_001), 413, "text_too_long", "has 100,001 characters"),
        (b"x" * (2**21 + 1), 413, "body_too_large", "more than 2,097,152 bytes"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_format(
    classifier_server: Server, route, body, status, code, message
):
    answer = classifier_server.client.post(route, content=body)
    content = answer.json()
    assert set(content) == {"error", "code", "detail"}
    if route == "/predict" and not body:
        status, code, message = 400, "invalid_json", "the body is no JSON"
    assert answer.status_code == status
    assert code in content["code"]
    assert message in content["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": "a", "texts": ["b"]}, "give either text or texts"),
        ({"texts": []}, "texts: List should have at least 1 item"),
        ({"texts": ["a", 1]}, "texts.1: Input should be a valid string"),
        ({"texts": "a"}, "texts: Input should be a valid list"),
        ({"text": "a", "txt": "b"}, "txt: Extra inputs are not permitted"),
    ],
)
def test_a_request_that_is_not_as_described_is_told_where(classifier_server: Server, body, message):
    answer = classifier_server.client.post("/v1/classify", json=body)
    assert answer.status_code == 422
    assert message in answer.json()["error"]


def test_each_text_of_a_request_counts_against_the_limits(classifier_server: Server):
    answer = classifier_server.client.post("/v1/classify", json={"texts": ["a"] * 257})
    assert answer.status_code == 413
    assert answer.json()["error"].startswith("257 texts in one request; send at most 256")


def test_a_body_in_chunks_is_bounded_too(classifier_server: Server):
    answer = classifier_server.client.post("/predict", content=iter([b"x" * 2**16] * 64))
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/predict", 405, "GET is not allowed at /predict; use POST"),
        ("POST", "/health", 405, "POST is not allowed at /health; use GET"),
        ("GET", "/nothing", 404, "there is nothing at /nothing; /openapi.json lists what there is"),
        ("POST", "/v1/embed", 404, "this server runs a model of kind classifier; use /v1/classify"),
    ],
)
def test_routes_that_are_not_there_are_told_from_those_that_are(
    classifier_server: Server, method, path, status, message
):
    answer = classifier_server.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"] == message


def test_every_answer_has_the_headers_that_keep_browsers_safe(classifier_server: Server):
    client = classifier_server.client
    answers = [client.get("/health"), client.get("/nothing"), client.post("/predict")]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_the_page_and_its_files_are_served(classifier_server: Server):
    page = classifier_server.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]


def test_info_tells_what_is_served_and_the_bounds(classifier_server: Server):
    info = classifier_server.client.get("/v1/info").json()
    assert info["kind"] == "classifier"
    assert info["labels"] == [{"label": "0", "name": "LABEL_0"}, {"label": "1", "name": "LABEL_1"}]
    assert (info["max_characters"], info["max_texts"]) == (100_000, 256)
    assert (info["auth_required"], info["members_down"]) == (False, {})


def test_a_text_that_was_answered_before_is_answered_from_memory(classifier_server: Server):
    ask = {"json": {"texts": ["remembered?", "remembered?"]}}
    first = classifier_server.client.post("/v1/classify", **ask).json()
    hits = classifier_server.metric("ivme_cache_hits_total")
    assert classifier_server.client.post("/v1/classify", **ask).json() == first
    assert classifier_server.metric("ivme_cache_hits_total") == hits + 2


def test_metrics_count_requests_refusals_batches_and_tokens(classifier_server: Server):
    client = classifier_server.client
    client.post("/v1/classify", json={"text": "counted"})
    client.post("/v1/classify", json={"text": 1})
    metrics = client.get("/metrics").text
    for name in (
        'ivme_requests_total{route="/v1/classify",status="200"}',
        'ivme_refusals_total{reason="invalid_request"}',
        "ivme_batch_texts_bucket",
        "ivme_batch_tokens_sum",
        "ivme_tokens_total",
        "ivme_queue_texts 0.0",
        'ivme_latency_seconds_count{stage="queue"}',
        'ivme_latency_seconds_count{stage="model"}',
        'ivme_latency_seconds_count{stage="total"}',
        'ivme_member_down{member="model"} 0.0',
        'ivme_member_restarts_total{member="model"}',
    ):
        assert name in metrics


def test_a_server_of_a_plan_without_torch_imports_none(classifier_server: Server):
    for process in (classifier_server.process.pid, *classifier_server.children()):
        maps = Path(f"/proc/{process}/maps").read_text()
        assert "libtorch" not in maps


def test_texts_are_not_logged(classifier_server: Server):
    classifier_server.client.post("/v1/classify", json={"text": "a secret of mine"})
    assert "secret" not in "".join(classifier_server.lines)


def test_the_description_names_every_route_with_examples(classifier_server: Server):
    described = classifier_server.client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        *("/health", "/ready", "/metrics", "/v1/info", "/v1/classify", "/predict")
    }
    text = json.dumps(described)
    assert "A single text." in text
    assert "individual_results" in text


@pytest.fixture(scope="module")
def guarded_server(classifier_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("correct horse\n")
    arguments = ("--api-key-file", str(key), "--cors", "https://pages.example", "--log-texts")
    with serving(classifier_folder, *arguments) as server:
        yield server


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-API-Key": "wrong"}, 401),
        ({"Authorization": "Basic correct horse"}, 401),
        ({"X-API-Key": "correct horse"}, 200),
        ({"Authorization": "Bearer correct horse"}, 200),
    ],
)
def test_with_a_key_only_those_who_bring_it_are_answered(guarded_server: Server, headers, status):
    client = guarded_server.client
    answer = client.post("/v1/classify", json={"text": "a film"}, headers=headers)
    assert answer.status_code == status
    assert client.get("/metrics", headers=headers).status_code == status
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


def test_probes_the_page_and_its_questions_need_no_key(guarded_server: Server):
    for path in ("/health", "/ready", "/", "/v1/info", "/openapi.json"):
        assert guarded_server.client.get(path).status_code == 200
    assert guarded_server.client.get("/v1/info").json()["auth_required"] is True


def test_pages_of_an_allowed_origin_may_ask_and_no_others(guarded_server: Server):
    def ask(origin: str) -> httpx.Response:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        return guarded_server.client.options("/predict", headers=asked)

    allowed = ask("https://pages.example").headers["access-control-allow-origin"]
    assert allowed == "https://pages.example"
    assert "access-control-allow-origin" not in ask("https://other.example").headers


def test_a_refusal_can_be_read_by_an_allowed_page(guarded_server: Server):
    origin = {"Origin": "https://pages.example"}
    answer = guarded_server.client.post("/predict", headers=origin)
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "https://pages.example"


def test_texts_are_logged_when_asked_for(guarded_server: Server):
    key = {"X-API-Key": "correct horse"}
    guarded_server.client.post("/v1/classify", json={"text": "told to the log"}, headers=key)
    # A thread reads what the server prints: it may come later than the answer.
    assert wait_for(lambda: any("told to the log" in line for line in guarded_server.lines))
