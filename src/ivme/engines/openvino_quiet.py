"""What OpenVINO's Python tools do unasked, held off: log lines, progress bars, telemetry."""

import functools
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from ivme.models.quiet import quiet_libraries


@contextmanager
def quiet_openvino() -> Iterator[None]:
    """Silence model conversion and NNCF, and decline the telemetry that both send by default.

    Their telemetry is decided once a process, when the first of them asks; under this block the
    answer is no, and no file is left in the home folder.
    """
    with ExitStack() as after:
        after.enter_context(quiet_libraries())
        after.enter_context(_telemetry_declined())
        after.enter_context(_nncf_silent())
        yield


@contextmanager
def _telemetry_declined() -> Iterator[None]:
    try:
        from openvino_telemetry.utils.opt_in_checker import (
            ConsentCheckResult,
            OptInChecker,
        )
    except ImportError:  # not installed: nothing is sent
        yield
        return

    def decline(*_: object, **__: object) -> object:
        return ConsentCheckResult.DECLINED

    with patch.object(OptInChecker, "check", decline):
        yield


@contextmanager
def _nncf_silent() -> Iterator[None]:
    from nncf.common.logging.track_progress import track

    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    bars = functools.partialmethod(track.__init__, disable=True)
    try:
        with patch.object(track, "__init__", bars):
            yield
    finally:
        logger.setLevel(level)
