import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from ivme.serve.page_files import CONTENT_SECURITY_POLICY, page_routes


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    app.include_router(page_routes())
    with TestClient(app) as client:
        yield client


def test_the_page_comes_with_a_policy_that_allows_only_its_own_files(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_file_that_the_page_and_its_modules_name_is_served(client):
    named = set(re.findall(r'"page/([\w.]+)"', client.get("/").text))
    assert {"main.js", "page.css", "icon.svg"} <= named
    seen = set()
    while named - seen:
        name = (named - seen).pop()
        seen.add(name)
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200, name
        if name.endswith(".js"):
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
            named |= set(re.findall(r'from "\./([\w.]+)"', answer.text))
    assert "messages_tr.js" in seen


def test_a_file_the_browser_has_is_not_sent_again(client):
    first = client.get("/page/main.js")
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = client.get("/page/main.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    assert client.get("/page/main.js", headers={"If-None-Match": '"other"'}).status_code == 200


def test_head_answers_with_the_headers_alone(client):
    answer = client.head("/page/page.css")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 1000


@pytest.mark.parametrize("name", ["none.js", "..%2fpage_files.py", "%2e%2e%2f__init__.py"])
def test_nothing_but_the_files_of_the_page_is_served(client, name):
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404


def test_an_unknown_file_is_named_in_the_answer(client):
    answer = client.get("/page/none.js")
    assert answer.json()["detail"] == "no file 'none.js' belongs to the page. It opens at `/`."


def test_nothing_in_the_files_names_another_host(client):
    for name in ("index.html", "page.css", "result.css", "main.js", "service.js"):
        hosts = re.findall(r"(?:https?:)?//[\w.]+\.\w+", client.get(f"/page/{name}").text)
        assert hosts == [], name
