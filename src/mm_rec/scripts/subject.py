"""What a benchmark script runs on: its options, and the model, ids and machine they name."""

import argparse
import copy
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from ivme.errors import IvmeError, UsageError
from mm_rec.errors import MMRecError
from mm_rec.presets import PRESETS

if TYPE_CHECKING:
    from torch import Tensor

    from ivme.hardware.inventory import Inventory
    from mm_rec.configuration import MMRecConfig
    from mm_rec.model import MMRecForCausalLM

# Settings of the model that may replace those of the preset.
_SIZES = ("vocab_size", "model_dim", "num_layers", "num_heads", "num_memories")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A configuration, where it runs, and on how much."""

    config: "MMRecConfig"
    inventory: "Inventory"
    device: str
    threads: int
    batch_size: int
    seq_len: int

    def model(self) -> "MMRecForCausalLM":
        """Return the model with random weights, always the same, on the device."""
        import torch

        from mm_rec.model import MMRecForCausalLM

        torch.manual_seed(0)
        return MMRecForCausalLM(copy.deepcopy(self.config)).to(self.device).eval()

    def ids(self) -> "Tensor":
        """Return random ids [batch_size, seq_len], always the same, on the device."""
        import torch

        generator = torch.Generator().manual_seed(0)
        shape = (self.batch_size, self.seq_len)
        return torch.randint(self.config.vocab_size, shape, generator=generator).to(self.device)

    def waiting(self, run: Callable[[], object]) -> Callable[[], object]:
        """Return `run`, made to return only when the device is done."""
        if not self.device.startswith("cuda"):
            return run
        import torch

        def run_and_wait() -> None:
            run()
            torch.cuda.synchronize(self.device)

        return run_and_wait

    def settings(self) -> dict[str, Any]:
        """Return what the figures depend on, for a record."""
        sizes = {name: getattr(self.config, name) for name in (*_SIZES, "recurrence", "ffn_dim")}
        place = {"device": self.device, "threads": self.threads, "dtype": "float32"}
        return {**place, "batch_size": self.batch_size, "tokens": self.seq_len, **sizes}

    def machine(self) -> dict[str, Any]:
        """Return the machine as a record keeps it."""
        return asdict(self.inventory)


class Parser(argparse.ArgumentParser):
    """Options of a benchmark script; a wrong one is one line and exit status 2."""

    def __init__(self, name: str, description: str | None) -> None:
        super().__init__(
            prog=f"python -m mm_rec.scripts.{name}",
            description=description,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        self.add_argument("--device", help="cpu, cuda, cuda:1 or mps; left out: the fastest here")
        self.add_argument("--threads", type=_count, help="left out: one a usable core")
        self.add_argument("--batch_size", type=_count, default=2, help="texts in a call")
        self.add_argument("--seq_len", type=_count, default=256, help="tokens in a text")
        self.add_argument("--preset", choices=sorted(PRESETS), default="mm-rec-2m")
        for name in _SIZES:
            self.add_argument(f"--{name}", type=int, help="in place of the preset's")
        self.add_argument("--recurrence", choices=("parallel", "exact"), default="parallel")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line."""
        print(f"{self.prog}: error: {message}. --help lists the options.", file=sys.stderr)
        raise SystemExit(2)


def settle(options: argparse.Namespace) -> Subject:
    """Return the subject that the options name, with torch bound to its threads.

    Raises UsageError, ConfigError or DeviceError for what cannot be.
    """
    from ivme.hardware.devices import choose_device
    from ivme.hardware.inventory import read_inventory
    from ivme.hardware.threads import ThreadSettings, apply_threads, default_threads
    from mm_rec.configuration import MMRecConfig

    given = {name: getattr(options, name) for name in _SIZES if getattr(options, name) is not None}
    preset = {**PRESETS[options.preset], **given, "recurrence": options.recurrence}
    config = MMRecConfig(**preset)
    inventory = read_inventory(with_torch=True)
    device = choose_device(options.device, inventory).name
    threads = options.threads or default_threads(inventory)
    apply_threads(ThreadSettings(intra=threads))
    return Subject(
        config=config,
        inventory=inventory,
        device=device,
        threads=threads,
        batch_size=options.batch_size,
        seq_len=options.seq_len,
    )


def run_script(run: Callable[[], None]) -> int:
    """Run a script and return its exit status; errors of ours become one line."""
    try:
        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 1
    except (IvmeError, MMRecError) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return error.exit_status if isinstance(error, IvmeError) else UsageError.exit_status
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number of at least 1")
    return int(text)
