"""Phases of a step: data, tokenization, forward, backward, optimizer, and what is left over.

A step may name its phases itself with `phase`; where it does not, they are found by hooks: of
data loaders, of modules, of autograd and of optimizers. Nothing is profiled: a phase costs two
readings of the clock.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ivme.measure.memory import cuda_in_use

PHASES = ("data", "tokenization", "forward", "backward", "optimizer", "other")

_watches: list["PhaseWatch"] = []  # the running one, if any


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Count what is inside as that phase of the step; free where nothing watches.

    name: one of PHASES. A phase inside another one is counted apart, and not in both.
    """
    if not _watches:
        yield
        return
    with _watches[-1].inside(name):
        yield


class PhaseWatch:
    """Seconds of each phase of a step, exclusive of the phases inside it.

    with PhaseWatch(model) as watch:
        watch.time_step(run)
    watch.seconds["forward"]
    """

    def __init__(self, model: Any = None) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in PHASES}
        self.step_s: list[float] = []
        self.on_backward: Callable[[list[Any]], None] | None = None  # told what it starts from
        self._model = model
        self._open: list[str] = []
        self._now: dict[str, float] = {}
        self._mark_s = 0.0
        self._last: str | None = None  # the phase that ended last
        self._after = ExitStack()

    @property
    def current(self) -> str:
        """Return the phase that is under way; what follows a forward is its loss."""
        if self._open:
            return self._open[-1]
        return "forward" if self._last == "forward" else "other"

    def time_step(self, run: Callable[[], object]) -> None:
        """Run one step and keep the seconds of its phases."""
        self._now, self._last = dict.fromkeys(PHASES, 0.0), None
        start_s = self._mark_s = _settled_now()
        run()
        self._charge()
        self.step_s.append(self._mark_s - start_s)
        for name, seconds in self._now.items():
            self.seconds[name].append(seconds)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Count what is inside as that phase; what backward recomputes stays backward's."""
        if name == "forward" and self.current == "backward":
            yield
            return
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    def enter(self, name: str) -> None:
        """Begin a phase inside the one under way."""
        self._charge()
        self._open.append(name)

    def leave(self) -> None:
        """End the phase that began last."""
        self._charge()
        self._last = self._open.pop()

    def _charge(self) -> None:
        now_s = _settled_now()
        self._now[self.current] = self._now.get(self.current, 0.0) + now_s - self._mark_s
        self._mark_s = now_s

    def __enter__(self) -> "PhaseWatch":
        _watches.append(self)
        self._after.callback(_watches.remove, self)
        self._watch_loaders()
        self._watch_modules()
        self._watch_backward()
        self._watch_optimizers()
        return self

    def __exit__(self, *exception: object) -> None:
        self._after.close()

    def _watch_loaders(self) -> None:
        from torch.utils.data.dataloader import _BaseDataLoaderIter

        self._replace(_BaseDataLoaderIter, "__next__", "data")

    def _watch_backward(self) -> None:
        import torch

        inner = torch.autograd.backward

        @functools.wraps(inner)
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            with self.inside("backward"):
                if self.on_backward is not None:
                    roots = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
                    self.on_backward(roots)
                return inner(tensors, *args, **kwargs)

        torch.autograd.backward = backward
        self._after.callback(setattr, torch.autograd, "backward", inner)

    def _replace(self, owner: Any, name: str, phase_name: str) -> None:
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def replaced(*args: Any, **kwargs: Any) -> Any:
            if self.current == phase_name:
                return inner(*args, **kwargs)
            with self.inside(phase_name):
                return inner(*args, **kwargs)

        setattr(owner, name, replaced)
        self._after.callback(setattr, owner, name, inner)

    def _watch_modules(self) -> None:
        """Watch the model, or the outermost of any modules where the step did not name it."""
        from torch.nn.modules import module as modules

        entered: list[bool] = []  # of each module under way, whether the phase began with it

        def before(one: Any, args: Any) -> None:
            entered.append(not entered and not self._open)
            if entered[-1]:
                self.enter("forward")

        def after(one: Any, args: Any, output: Any) -> None:
            if entered.pop():
                self.leave()

        if self._model is not None:
            handles: list[Any] = [
                self._model.register_forward_pre_hook(before),
                self._model.register_forward_hook(after),
            ]
        else:
            handles = [
                modules.register_module_forward_pre_hook(before),
                modules.register_module_forward_hook(after),
            ]
        for handle in handles:
            self._after.callback(handle.remove)

    def _watch_optimizers(self) -> None:
        from torch.optim import optimizer as optimizers

        def before(one: Any, args: Any, kwargs: Any) -> None:
            self.enter("optimizer")

        def after(one: Any, args: Any, kwargs: Any) -> None:
            self.leave()

        for handle in (
            optimizers.register_optimizer_step_pre_hook(before),
            optimizers.register_optimizer_step_post_hook(after),
        ):
            self._after.callback(handle.remove)


def _settled_now() -> float:
    """Return the time once the GPU, if one is in use, has done what it was given."""
    cuda = cuda_in_use()
    if cuda is not None:
        cuda.synchronize()
    return time.perf_counter()
