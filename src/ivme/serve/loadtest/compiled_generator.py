"""The generator in C++: what it takes of a shared processor, a server under test lacks.

It speaks HTTP without TLS, on Linux. Requests, outcomes and moments are those of generator.py.
"""

import importlib
import math
import os
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING

from ivme.serve.loadtest.configuration import LoadConfig
from ivme.serve.loadtest.generator import TELL_EVERY_S
from ivme.serve.loadtest.pool import (
    CUT,
    NOT_HTTP,
    REFUSED,
    RESET,
    TIMED_OUT,
    UNANSWERED,
    UNREACHABLE,
)
from ivme.serve.loadtest.request_bytes import RequestBytes
from ivme.serve.loadtest.samples import UNFINISHED, Progress, Run, Samples
from ivme.serve.loadtest.schedule import due_moments
from ivme.serve.loadtest.target import Target

if TYPE_CHECKING:
    from ivme.serve.loadtest._driver import Driver

# As csrc/loadtest/driver.h numbers them; above 0 it is a status.
_OUTCOMES = (UNFINISHED, REFUSED, RESET, UNANSWERED, CUT, TIMED_OUT, NOT_HTTP)
_NO_CONNECTION = -1000
_DRIVER = "ivme.serve.loadtest._driver"


def can_drive(target: Target) -> bool:
    """Return whether the compiled generator is there, and speaks the target's scheme.

    Raises:
        ImportError: it is there, and broken.
    """
    return target.scheme == "http" and _driver_class() is not None


def run_compiled(
    config: LoadConfig, target: Target, requests: RequestBytes, tell: Callable[[Progress], None]
) -> Run:
    """Send everything, wait for the outcomes, and return them; Ctrl-C ends it early."""
    make = _driver_class()
    assert make is not None
    driver = make(
        addresses=list(target.addresses),
        port=target.port,
        head=requests.head,
        bodies=requests.bodies,
        mark=requests.mark,
        end=requests.end,
        due_s=b"" if config.rate_per_s is None else due_moments(config).tobytes(),
        clients=config.concurrency or 0,
        warm_up_s=config.warm_up_s,
        duration_s=config.duration_s,
        timeout_s=config.timeout_s,
        most_connections=config.max_connections,
    )
    with ThreadPoolExecutor(1, thread_name_prefix="ivme-loadtest") as thread:
        running = thread.submit(driver.run)
        try:
            while not wait([running], timeout=TELL_EVERY_S).done:
                tell(_progress(driver))
        except KeyboardInterrupt:
            pass  # what was measured until then is returned
        finally:
            driver.stop()
    running.result()
    return _run_of(driver)


@cache
def _driver_class() -> "type[Driver] | None":
    try:
        module = importlib.import_module(_DRIVER)
    except ModuleNotFoundError as error:
        if error.name != _DRIVER:
            raise
        return None  # not on this system
    found: type[Driver] = module.Driver
    return found


@cache
def _name_of(code: int) -> str:
    if code > 0:
        return str(code)
    if code > _NO_CONNECTION:
        return _OUTCOMES[-code]
    return f"{UNREACHABLE}: {os.strerror(_NO_CONNECTION - code)}"


def _progress(driver: "Driver") -> Progress:
    elapsed_s, begun, in_flight, ended, recent_s = driver.look()
    return Progress(
        elapsed_s=elapsed_s,
        begun=begun,
        ended={_name_of(code): count for code, count in ended.items()},
        in_flight=in_flight,
        recent_s=tuple(recent_s),
    )


def _run_of(driver: "Driver") -> Run:
    *moments, outcomes = driver.columns()
    due_s, begun_s, sent_s, ended_s = (array("d", column) for column in moments)
    return Run(
        samples=Samples(
            due_s=due_s,
            begun_s=begun_s,
            sent_s=sent_s,
            ended_s=ended_s,
            outcomes=[_name_of(code) for code in array("i", outcomes)],
        ),
        bodies={
            _name_of(code): body.decode(errors="replace") for code, body in driver.bodies().items()
        },
        started_at_s=driver.started_at_s,
        stopped_at_s=None if math.isnan(driver.stopped_at_s) else driver.stopped_at_s,
        busy_share=driver.busy_share,
        connections=driver.connections,
        waited=driver.waited,
    )
