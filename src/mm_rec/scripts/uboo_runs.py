"""One training run of the UBOO test, in a process of its own, and what it tells.

The module imports all that training needs: memory counts from after its import.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ivme.models.quiet import quiet_libraries

with quiet_libraries():
    import mm_rec.training.trainer  # noqa: F401
from mm_rec.scripts.pretrain import main
from mm_rec.training.logs import read_log


def train(arguments: Sequence[str], run_folder: str) -> dict[str, Any]:
    """Train as `pretrain` does, and return the losses of the run as plain values.

    arguments: of `pretrain`, with --log_interval 1.
    """
    with contextlib.redirect_stdout(sys.stderr):
        main(arguments)
    folder = Path(run_folder)
    (ended,) = read_log(folder, "ended")
    return {
        "losses": [
            one["loss"] - (one["auxiliary_loss"] or 0.0) for one in read_log(folder, "step")
        ],
        "evaluations": [(one["step"], one["loss"]) for one in read_log(folder, "evaluation")],
        "final_perplexity": ended["evaluation"]["perplexity"],
        "elapsed_s": ended["elapsed_s"],
    }
