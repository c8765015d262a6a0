"""The ensemble: five text classifiers of different kinds that vote on a text.

The names below are imported on first use, so that importing the package stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ivme.ensemble.ensemble_folder import EnsembleFolder
    from ivme.ensemble.predictor import Predictor
    from ivme.ensemble.result_cache import CacheStats
    from ivme.ensemble.tabular import TabularMembers
    from ivme.ensemble.training import train_tabular

__all__ = ["CacheStats", "EnsembleFolder", "Predictor", "TabularMembers", "train_tabular"]

_HOMES = {
    "CacheStats": "ivme.ensemble.result_cache",
    "EnsembleFolder": "ivme.ensemble.ensemble_folder",
    "Predictor": "ivme.ensemble.predictor",
    "TabularMembers": "ivme.ensemble.tabular",
    "train_tabular": "ivme.ensemble.training",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(
            f"module 'ivme.ensemble' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    return getattr(import_module(_HOMES[name]), name)
