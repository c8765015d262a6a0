"""Ivme: find the fastest way to run a text model on this machine, and prove it.

Importing the package has no effects and loads no heavy library: the names below are imported
on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ivme.measure.compare import ComparePlan, compare
    from ivme.measure.meter import PerformanceMeter
    from ivme.measure.records import Record, load_record, save_record
    from ivme.models.loading import load_model
    from ivme.tune.plan import load_plan

__version__ = "0.1.0"
__all__ = [
    "ComparePlan",
    "PerformanceMeter",
    "Record",
    "__version__",
    "compare",
    "load_model",
    "load_plan",
    "load_record",
    "save_record",
]

_HOMES = {
    "ComparePlan": "ivme.measure.compare",
    "PerformanceMeter": "ivme.measure.meter",
    "Record": "ivme.measure.records",
    "compare": "ivme.measure.compare",
    "load_model": "ivme.models.loading",
    "load_plan": "ivme.tune.plan",
    "load_record": "ivme.measure.records",
    "save_record": "ivme.measure.records",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that `import ivme` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ivme' has no attribute {name!r}; it has {sorted(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
