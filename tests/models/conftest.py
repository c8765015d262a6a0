"""Model folders to load: copies of a preset to damage, and a masked model."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ivme.models.presets import preset_folder


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(preset_folder(name), tmp_path / name))

    return copy
