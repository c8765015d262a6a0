"""Schemathesis over the description: whatever it makes up, no answer is a 5xx."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from servers import Server

EXAMPLES = 100
ROUTES = ("/health", "/ready", "/metrics", "/v1/info", "/v1/classify", "/predict")
AS_DESCRIBED = [(route, GenerationMode.POSITIVE) for route in ROUTES]
OTHERWISE = [(route, GenerationMode.NEGATIVE) for route in ("/v1/classify", "/predict")]
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def operations(classifier_server: Server):
    described = schemathesis.openapi.from_url(f"{classifier_server.url}/openapi.json")
    return {one.ok().path: one.ok() for one in described.get_all_operations()}


@pytest.mark.parametrize(("route", "mode"), [*AS_DESCRIBED, *OTHERWISE])
def test_whatever_is_sent_is_answered_as_described(operations, route, mode):
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operations[route].as_strategy(generation_mode=mode))
    def send(case):
        answers.append(case.call_and_validate(checks=CHECKS).status_code)

    answers: list[int] = []
    send()
    assert answers
    assert max(answers) < 500


def test_every_route_is_tried(operations):
    assert set(operations) == set(ROUTES)
