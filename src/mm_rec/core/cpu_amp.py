"""Mixed precision on CPUs: autocast to bfloat16, and a loss scaler; on CUDA, CUDA's own.

Owns the judgment whether this processor multiplies bfloat16 itself. Where it does not, oneDNN and
the kernels convert to fp32 and back, which is slower than fp32 alone.
"""

import warnings
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mm_rec.errors import ConfigError

DTYPES = {"cpu": (torch.bfloat16,), "cuda": (torch.bfloat16, torch.float16)}
# Linux's names for instructions that multiply bfloat16: x86-64, then Arm.
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


class CPUAutocast:
    """A context in which matrix products run in bfloat16, and sums and weights stay fp32.

    autocast = CPUAutocast()
    with autocast: ...    # or `with autocast():`

    Args:
        dtype: bfloat16; on CUDA float16 too.
        device: "cpu" or "cuda".
        enabled: False makes it a context that changes nothing.

    Warns RuntimeWarning where the processor has no bfloat16 and would emulate it.
    Raises ConfigError for another device or dtype.
    """

    def __init__(
        self, dtype: torch.dtype = torch.bfloat16, device: str = "cpu", enabled: bool = True
    ) -> None:
        if device not in DTYPES:
            raise ConfigError(f"device={device!r}; expected one of {', '.join(DTYPES)}.")
        if dtype not in DTYPES[device]:
            allowed = " or ".join(str(allowed) for allowed in DTYPES[device])
            raise ConfigError(f"dtype={dtype} on {device}; expected {allowed}.")
        self.dtype, self.device, self.enabled = dtype, device, enabled
        self._entered: list[torch.autocast] = []
        if enabled and device == "cpu" and not has_bfloat16(processor_flags()):
            warnings.warn(
                "this processor has no bfloat16 instructions (avx512_bf16, amx_bf16 or Arm's bf16):"
                " bfloat16 is emulated, and slower than float32; train without --use_amp.",
                RuntimeWarning,
                stacklevel=2,
            )

    def __call__(self) -> "CPUAutocast":
        """Return this context, so that `with autocast():` works as well."""
        return self

    def __enter__(self) -> None:
        context = torch.autocast(self.device, dtype=self.dtype, enabled=self.enabled)
        context.__enter__()
        self._entered.append(context)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered.pop().__exit__(kind, error, trace)


class CPUScaler:
    """Scales the loss up so that small gradients survive, and skips steps whose gradients overflow.

    scaler(loss).backward(); scaler.unscale_(optimizer); scaler.step(optimizer); scaler.update()

    bfloat16 has the range of fp32 and needs no scale, but the check for infinite gradients holds
    for it as well. Built on torch.amp.GradScaler, and counts as it does.

    Args:
        init_scale: The scale at first.
        growth_factor: What it is multiplied by after growth_interval steps without overflow.
        backoff_factor: What it is multiplied by after an overflow.
        growth_interval: See growth_factor.
        enabled: False leaves losses, gradients and steps as they are, unchecked.
        device: "cpu" or "cuda".
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
        device: str = "cpu",
    ) -> None:
        if device not in DTYPES:
            raise ConfigError(f"device={device!r}; expected one of {', '.join(DTYPES)}.")
        if init_scale <= 0 or growth_factor <= 1 or not 0 < backoff_factor < 1:
            raise ConfigError(
                f"init_scale={init_scale}, growth_factor={growth_factor}, backoff_factor="
                f"{backoff_factor}; expected above 0, above 1, and between 0 and 1."
            )
        if growth_interval < 1:
            raise ConfigError(f"growth_interval={growth_interval}; expected at least 1.")
        self._scaler = torch.amp.GradScaler(
            device,
            init_scale=init_scale,
            growth_factor=growth_factor,
            backoff_factor=backoff_factor,
            growth_interval=growth_interval,
            enabled=enabled,
        )

    def __call__(self, loss: Tensor) -> Tensor:
        """Return the loss times the scale."""
        scaled: Tensor = self._scaler.scale(loss)
        return scaled

    @property
    def scale(self) -> float:
        """What losses are multiplied by now."""
        return float(self._scaler.get_scale())

    @property
    def enabled(self) -> bool:
        """Whether it scales and checks at all."""
        return bool(self._scaler.is_enabled())

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale, in place, so that they can be clipped; once a step."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> bool:
        """Let the optimizer step unless a gradient is infinite or NaN; return whether it did."""
        self._scaler.step(optimizer)
        return not self.found_inf(optimizer)

    def found_inf(self, optimizer: Optimizer) -> bool:
        """Return whether the gradients, once unscaled, hold an infinity or NaN; until update()."""
        found = self._scaler._found_inf_per_device(optimizer).values() if self.enabled else ()
        return any(bool(flag) for flag in found)

    def update(self) -> None:
        """Lower the scale after an overflow, or raise it after enough steps without one."""
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the scale, its settings and how long it has held, as plain numbers."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict."""
        self._scaler.load_state_dict(state)


def has_bfloat16(flags: frozenset[str]) -> bool:
    """Return whether a processor with these flags multiplies bfloat16 itself."""
    return not BFLOAT16_FLAGS.isdisjoint(flags)


@cache
def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the names of the instruction sets of this processor, as Linux calls them.

    Where there is no such file, those that torch knows of. Read once.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        named = torch.cpu.get_capabilities()
        return frozenset(name for name, value in named.items() if value is True)
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
