"""Silence for the libraries below: their log lines and progress bars are not ours to show."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

NOISY = ("torchao", "torch.utils._pytree")  # imported on the way, loud about what is not used


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence log lines, progress bars and warnings of Transformers and what it imports."""
    with ExitStack() as after:
        for name in NOISY:
            logger = logging.getLogger(name)
            after.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        _quiet_hub(after)
        _quiet_transformers(after)
        after.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


def _quiet_hub(after: ExitStack) -> None:
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from huggingface_hub.utils import logging as hub_logging

    after.callback(hub_logging.set_verbosity, hub_logging.get_verbosity())
    hub_logging.set_verbosity(logging.CRITICAL)
    if not are_progress_bars_disabled():
        after.callback(enable_progress_bars)
        disable_progress_bars()


def _quiet_transformers(after: ExitStack) -> None:
    from transformers.utils import logging as transformers_logging

    after.callback(transformers_logging.set_verbosity, transformers_logging.get_verbosity())
    transformers_logging.set_verbosity(logging.CRITICAL)
    if transformers_logging.is_progress_bar_enabled():
        after.callback(transformers_logging.enable_progress_bar)
        transformers_logging.disable_progress_bar()
