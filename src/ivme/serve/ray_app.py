"""The same application on Ray Serve: replicas on one machine or many behind one address.

Each replica is a process of Ray with the whole application and a copy of the model, so that a
request is bound, batched and answered as on one machine. Ray finds a replica for each request,
starts another where one dies, and asks nothing of a replica whose model is not loaded yet.
"""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ivme.errors import IvmeError, UsageError
from ivme.serve.configuration import ServeConfig

if TYPE_CHECKING:
    from fastapi import FastAPI

NAME = "ivme"  # of the application on the cluster
# Requests of a replica beyond what may wait in it: they run, or are refused by it at once.
SPARE_REQUESTS = 64
LOCAL = "local"


def serve_on_ray(config: ServeConfig, address: str) -> None:
    """Serve on a Ray cluster until a signal says stop; then finish what was accepted.

    config: `workers` is the number of replicas, each with one process for each model; `max_queue`
    and the cache are each replica's own. `max_connections` is Ray's to bound, not ours. The folder
    must be readable on every machine under the same path. address: "local" for a cluster of this
    machine that ends with the call, "auto" or HOST:PORT for one that runs.

    Raises:
        UsageError: Ray is not installed, no cluster answers, the port is taken or the folder holds
            nothing to serve.
        IvmeError: the replicas do not start.
    """
    from ivme.serve.served_model import open_served_model
    from ivme.serve.server import bind, warn_if_open
    from ivme.tune.ray_prediction import connected_cluster

    if config.port == 0:
        raise UsageError("port=0; Ray Serve needs a port by number: give --port 8000")
    settled = settled_config(config)
    open_served_model(settled)  # what is wrong with the folder is told before anything starts
    if address == LOCAL:
        bind(settled).close()  # Ray would say in its log alone that nobody can listen there
    warn_if_open(settled)
    options = deployment_options(settled)
    cores = settled.workers * options["ray_actor_options"]["num_cpus"]
    with connected_cluster(address, cores), _deployed(settled, options):
        print(
            f"serving {settled.folder} on http://{settled.host}:{settled.port}, "
            f"{settled.workers} replicas on Ray",
            file=sys.stderr,
            flush=True,
        )
        wait_for_signal()


def settled_config(config: ServeConfig) -> ServeConfig:
    """Return what every replica is told, where this machine's own answer would differ from theirs.

    An ensemble's threads are settled here: Ray keeps as many processors free for a replica, which
    would else take all of the machine where it runs.
    """
    from ivme.tune.plan import is_plan

    settled = replace(config, folder=config.folder.absolute())
    if is_plan(settled.folder):
        return settled
    from ivme.serve.ensemble_model import threads_of_copy

    return replace(settled, threads=threads_of_copy(settled))


def deployment_options(config: ServeConfig) -> dict[str, Any]:
    """Return what Ray is told of the replicas of a settled configuration.

    A replica gets more requests than may wait in it, so that it refuses the rest itself, with 429
    and when to try again. Ray would keep them waiting.
    """
    return {
        "name": NAME,
        "num_replicas": config.workers,
        "max_ongoing_requests": config.max_queue + SPARE_REQUESTS,
        "max_queued_requests": config.max_queue,
        "graceful_shutdown_timeout_s": config.stop_timeout_s,
        "ray_actor_options": {"num_cpus": _cores(config)},
    }


class Replica:
    """A copy of the application, in a process that Ray starts; Ray calls what it builds."""

    def __init__(self, config: ServeConfig) -> None:
        from ivme.serve.served_model import open_served_model

        self._config = replace(config, workers=1)
        self._model = open_served_model(self._config)
        if not config.lazy:
            self._model.start()
            self._model.wait_until_ready()

    def __serve_build_asgi_app__(self) -> "FastAPI":
        """Return the application, whose model is loaded."""
        from ivme.serve.app import build_app
        from ivme.serve.service import Service

        return build_app(self._config, Service(self._config, self._model))


def wait_for_signal() -> None:
    """Wait until SIGTERM or SIGINT."""
    stop = threading.Event()
    handled = (signal.SIGTERM, signal.SIGINT)
    before = {one: signal.signal(one, lambda *_: stop.set()) for one in handled}
    try:
        stop.wait()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def _deployed(config: ServeConfig, options: dict[str, Any]) -> Iterator[None]:
    """Deploy the application; take it off the cluster at the end, its requests finished."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(
        http_options={"host": config.host, "port": config.port},
        logging_config={"log_level": "ERROR"},
    )
    deployment = serve.deployment(**options)(serve.ingress()(Replica))
    try:
        serve.run(deployment.bind(config), name=NAME, route_prefix="/")
        yield
    except RuntimeError as error:
        raise IvmeError(
            f"Ray Serve could not start the replicas ({str(error).splitlines()[0]}); serve the "
            "folder without --ray to see why"
        ) from error
    finally:
        serve.delete(NAME)


def _cores(config: ServeConfig) -> int:
    """Return the processors that a replica takes: its model's threads."""
    from ivme.tune.plan import read_plan

    if config.threads is not None:
        return config.threads
    variant = read_plan(config.folder).variant
    return variant.threads * variant.batching.streams
