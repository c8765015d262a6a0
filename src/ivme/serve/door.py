"""What is refused on the head of a request alone: no key, a server that stops, a full queue."""

from collections.abc import Mapping

from ivme.serve.lifecycle import Lifecycle
from ivme.serve.problems import Problem, stopping, unauthorized
from ivme.serve.security import is_open, key_matches
from ivme.serve.service import Service

MODEL_ROUTES = ("/predict", "/v1/classify", "/v1/embed", "/v1/generate", "/v1/fill", "/v1/analyze")
OTHER_ROUTES = ("/", "/health", "/ready", "/metrics", "/openapi.json", "/v1/info")
KNOWN_ROUTES = frozenset((*MODEL_ROUTES, *OTHER_ROUTES))


class Door:
    """Says who may not come in, and counts who did not."""

    def __init__(self, service: Service, lifecycle: Lifecycle) -> None:
        self.service = service
        self.lifecycle = lifecycle

    def check(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Raise a Problem if the request is refused whatever its body says.

        headers: by their names in lower case.
        """
        if not is_open(path, method) and not key_matches(headers, self.service.config.api_key):
            raise unauthorized()
        if asks_the_model(method, path):
            if self.lifecycle.is_stopping:
                raise stopping()
            self.service.batcher.refuse_if_full()

    def count_refusal(self, problem: Problem) -> None:
        """Count a refusal by its reason."""
        self.service.metrics.refusals.labels(problem.code).inc()

    def count_request(self, path: str, status: int, duration_s: float) -> None:
        """Count a request that has ended."""
        route = path if path in KNOWN_ROUTES else "other"
        self.service.metrics.requests.labels(route, str(status)).inc()
        if route in MODEL_ROUTES:
            self.service.metrics.latency["total"].observe(duration_s)


def asks_the_model(method: str, path: str) -> bool:
    """Return whether a request brings texts."""
    return method == "POST" and path in MODEL_ROUTES
