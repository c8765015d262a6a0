"""The training step of a Python file: its `make_step()` under a small contract.

make_step takes any of the settings in `settings.NAMES` but threads, by keyword; those that it
takes are turned. It returns a callable that makes one training step, or an object with data(),
forward(batch), backward(loss) and optimizer(), which are then called in that order.
"""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ivme.diagnose.phases import phase
from ivme.diagnose.settings import NAMES, StepSettings
from ivme.diagnose.targets import Target
from ivme.diagnose.training_step import Outline, TrainingStep
from ivme.errors import UsageError

FUNCTION = "make_step"
MODULE_NAME = "ivme_diagnosed_file"
METHODS = ("data", "forward", "backward", "optimizer")
TURNABLE = tuple(name for name in NAMES if name != "threads")  # ivme sets those itself


def outline_file(target: Target) -> Outline:
    """Return the settings that make_step takes, with its own defaults for them.

    Raises UsageError for a file without make_step, and whatever importing it raises.
    """
    accepted = _accepted(_find_make_step(target.reference))
    defaults = {name: value for name, value in accepted.items() if value is not None}
    return Outline(
        defaults=defaults,
        turnable=(*accepted, "threads"),
        name=Path(target.reference).name,
    )


def build_file_step(target: Target, settings: StepSettings) -> TrainingStep:
    """Return the step that make_step makes, called with the settings that it takes.

    Raises UsageError where it makes no step, and whatever it raises itself.
    """
    make_step = _find_make_step(target.reference)
    accepted = _accepted(make_step)
    given = {name: value for name, value in settings.as_dict().items() if name in accepted}
    made = make_step(**given)
    return TrainingStep(
        run=_runner(made, target.reference, given.get("accumulation", 1)),
        tokens=_tokens(made, given),
        items=_items(given),
        model=getattr(made, "model", None),
    )


def _items(given: dict[str, Any]) -> int | None:
    if "batch_size" not in given:
        return None
    return int(given["batch_size"] * given.get("accumulation", 1))


def _tokens(made: Any, given: dict[str, Any]) -> int | None:
    """Return the tokens of a step: what the step says, else batch size times length."""
    told = getattr(made, "tokens_per_step", None)
    if told is not None:
        return int(told)
    items = _items(given)
    return items * given["sequence_length"] if items and "sequence_length" in given else None


def _runner(made: Any, path: str, accumulation: int) -> Callable[[], object]:
    if all(callable(getattr(made, name, None)) for name in METHODS):
        return lambda: _run_phases(made, accumulation)
    if not callable(made):
        raise UsageError(
            f"{path}: {FUNCTION}() returned {type(made).__name__}; expected a callable that makes "
            f"one training step, or an object with {', '.join(METHODS)}"
        )
    run: Callable[[], object] = made
    return run


def _run_phases(made: Any, accumulation: int) -> None:
    for _ in range(accumulation):
        with phase("data"):
            batch = made.data()
        with phase("forward"):
            loss = made.forward(batch)
        with phase("backward"):
            made.backward(loss)
    with phase("optimizer"):
        made.optimizer()


def _accepted(make_step: Callable[..., Any]) -> dict[str, Any]:
    """Return the settings that make_step takes, each with its default or None."""
    parameters = inspect.signature(make_step).parameters.values()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        accepted: dict[str, Any] = dict.fromkeys(TURNABLE)
    else:
        accepted = {}
    for one in parameters:
        if one.name in TURNABLE and one.kind is not inspect.Parameter.POSITIONAL_ONLY:
            accepted[one.name] = None if one.default is inspect.Parameter.empty else one.default
    return accepted


def _find_make_step(path: str) -> Callable[..., Any]:
    module = sys.modules.get(MODULE_NAME) or _import_file(path)
    make_step: Callable[..., Any] | None = getattr(module, FUNCTION, None)
    if not callable(make_step):
        offered = [name for name, one in vars(module).items() if inspect.isfunction(one)]
        raise UsageError(
            f"{path} has no {FUNCTION}(); expected a function of that name that returns a callable "
            f"which makes one training step; it offers {', '.join(offered) or 'no function'}"
        )
    return make_step


def _import_file(path: str) -> ModuleType:
    """Import the file under a name of its own; its folder comes first in the search, as for python.

    Raises UsageError for a file that is not Python.
    """
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file; give one that offers {FUNCTION}()")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    sys.path.insert(0, str(Path(path).absolute().parent))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UsageError(
            f"{error.filename or path}, line {error.lineno}: not valid Python: {error.msg}; "
            "mend it and run again"
        ) from error
    return module
