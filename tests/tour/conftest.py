"""A tour that was taken once, as short as it can be."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ivme.tour import writing as writing_chapter
from ivme.tour.settings import TourSettings
from ivme.tour.voting import Voting, train_voters
from ivme.tour.writing import Writing, learn_to_write

# What runs a server, beside the tests of serving, is imported by name.
sys.path.insert(0, str(Path(__file__).parent.parent / "serve"))

SHORT = TourSettings(
    engines_s=None,
    writer_s=0.5,
    train_texts=60,
    valid_texts=40,
    training_s=0.5,
    search_s=None,
    plan_engines=("transformers:float32",),
    forest_trees=5,
)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a tour left behind."""

    folder: Path
    writing: Writing
    voting: Voting
    told: list[str]


@pytest.fixture(scope="session")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    folder = tmp_path_factory.mktemp("tour")
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing_chapter, "MOST_LETTERS", 200)
        writing = learn_to_write(SHORT, folder, told.append)
    voting = train_voters(SHORT, writing.texts, folder, threads=1, progress=told.append)
    return Taken(folder=folder, writing=writing, voting=voting, told=told)
