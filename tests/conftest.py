"""What every test shares: a cache folder of this run, so that presets are made once; and Ctrl-C."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Started in the background, a shell has Ctrl-C ignored, and what is started here would inherit it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put modules with slow tests first: begun last, one would keep a single worker busy."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # one folder for all workers: making presets is safe side by side
    folder = base / "ivme-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IVME_CACHE_DIR", str(folder))
        yield folder
