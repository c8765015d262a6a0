import sys
from pathlib import Path

import pytest

# The made-up styles and the odd rows beside the tests are imported by name.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small members of two labels; tests that change it copy it first."""
    from styles import styled_texts

    from ivme.ensemble.trainers.settings import MemberSettings
    from ivme.ensemble.training import TabularSettings, train_tabular

    folder = tmp_path_factory.mktemp("trained") / "model"
    texts, labels = styled_texts(300, ("human", "machine"))
    train_tabular(
        texts,
        labels,
        folder=folder,
        validation=styled_texts(100, ("human", "machine"), seed=1),
        settings=TabularSettings(sizes=MemberSettings(forest_trees=10, boosting_trees=10)),
    )
    return folder


@pytest.fixture(scope="session")
def small_ensemble(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an ensemble of BERT, DRF, GBM and GLM; tests that change it copy it first."""
    from small_ensembles import write_small_ensemble

    folder = tmp_path_factory.mktemp("ensemble")
    return write_small_ensemble(folder / "model", trained_folder, folder).path
