"""Silence for what libraries say while they are imported; it is not a script's to show."""

import importlib
import logging
import warnings

NOISY = ("torchao", "torch.utils._pytree")


def import_quietly(*modules: str) -> None:
    """Import modules, and those that they import, without log lines and warnings."""
    levels = {name: logging.getLogger(name).level for name in NOISY}
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for module in modules:
                importlib.import_module(module)
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
