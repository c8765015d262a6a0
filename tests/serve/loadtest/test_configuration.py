import pytest

from ivme.errors import UsageError
from ivme.serve.loadtest import LoadConfig
from ivme.serve.loadtest.target import find_target


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "neither of rate and concurrency given; give --rate R"),
        ({"rate_per_s": 1, "concurrency": 1}, "both of rate and concurrency given"),
        ({"rate_per_s": 0}, "rate_per_s=0; expected a number above 0"),
        ({"rate_per_s": float("nan")}, "rate_per_s=nan; expected"),
        ({"concurrency": 0}, "concurrency=0; expected 1 or more"),
        ({"rate_per_s": 1, "duration_s": -1}, "duration_s=-1; expected"),
        ({"rate_per_s": 1, "warm_up_s": -1}, "warm_up_s=-1; expected 0 or more"),
        ({"rate_per_s": 1, "schedule": "even"}, "schedule='even'; expected one of constant, po"),
        ({"rate_per_s": 1, "path": "predict"}, "path='predict'; expected a route as in /predict"),
        ({"rate_per_s": 1, "path": "/a b\r\nX: y"}, "expected a route"),
        ({"rate_per_s": 1e6, "duration_s": 60}, "at most 10,000,000 fit one record"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        LoadConfig(url="http://127.0.0.1:8000", **settings)


def test_the_settings_of_a_record_lack_the_key():
    config = LoadConfig(url="http://127.0.0.1", rate_per_s=1, api_key="secret")
    assert "secret" not in str(config.as_settings())


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost/", "http://[::1]:80"])
def test_this_machine_may_be_loaded(url):
    assert find_target(url, allow_remote=False).addresses


def test_another_machine_may_be_loaded_only_on_request():
    with pytest.raises(UsageError, match=r"is another machine; .* add --allow-remote"):
        find_target("http://192.0.2.1:8000", allow_remote=False)
    target = find_target("http://192.0.2.1:8000", allow_remote=True)
    assert target.addresses == ("192.0.2.1",)
    assert target.authority == "192.0.2.1:8000"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8000", "no URL of a server; expected one such as http://127.0.0.1:8000"),
        ("ftp://127.0.0.1", "no URL of a server"),
        ("http://", "no URL of a server"),
        ("http://127.0.0.1:99999", "no URL .*range"),
        ("http://[::1", "no URL"),
        ("http://user:word@127.0.0.1", "holds a user or password"),
        ("http://127.0.0.1:8000/predict", "name the route by --path"),
        ("http://no-such-host.invalid", "no machine is known as 'no-such-host.invalid'"),
    ],
)
def test_what_is_no_server_is_refused(url, message):
    with pytest.raises(UsageError, match=message):
        find_target(url, allow_remote=False)
