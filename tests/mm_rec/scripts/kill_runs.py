"""Trains the same run again and again, killing it at random moments; a program for test_pretrain.

kill_runs.py TEXT FOLDER KILLS: every run is a real process, forked from this one, which has only
imported what it needs; it gets SIGKILL, and the next one resumes. Prints how many were killed and
the folders of the runs that came to their end.
"""

import json
import os
import random
import select
import signal
import sys
from pathlib import Path

import torch

from mm_rec.presets import PRESETS

FLAGS = """
    --model_name=tiny --batch_size=1 --seq_len=32 --max_steps=40 --warmup_steps=5
    --checkpoint_interval=3 --eval_interval=20 --eval_batches=1 --sample_interval=0
    --log_interval=1 --no-use_tensorboard --dropout=0.1 --validation=tail --validation_share=0.1
"""


def import_all() -> None:
    """Import what a run needs, with a preset that is smaller than any of the package's."""
    PRESETS["tiny"] = {"vocab_size": 257, "model_dim": 32, "num_layers": 2}
    from mm_rec.training.configuration import SUITABLE

    SUITABLE["tiny"] = {"tokenizer": "bytes", "learning_rate": 1e-3}
    from ivme.models.quiet import quiet_libraries

    with quiet_libraries():
        import mm_rec.core.quantization
        import mm_rec.decoding
        import mm_rec.scripts.training_model
        import mm_rec.training.trainer  # noqa: F401


def train(folder: Path, text: Path, prepared: Path, deadline_s: float | None) -> bool:
    """Train in a process of its own; kill it after so many seconds. Return whether it ended."""
    from mm_rec.scripts import pretrain
    from mm_rec.training.checkpoint import list_checkpoints
    from mm_rec.training.files import find_damage

    arguments = [*FLAGS.split(), f"--data_dir={text}", f"--prepared_dir={prepared}"]
    whole = [one for one in list_checkpoints(folder) if find_damage(one) is None]
    arguments += [f"--resume_from={folder}"] if whole else [f"--checkpoint_dir={folder}"]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            status = pretrain.main(arguments)
        finally:
            os._exit(status)
    if deadline_s is not None:
        handle = os.pidfd_open(child)
        ended, _, _ = select.select([handle], [], [], deadline_s)
        os.close(handle)
        if not ended:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        sys.exit(f"the run in {folder} failed with status {os.WEXITSTATUS(status)}")
    return True


def main() -> None:
    """Train until enough processes were killed, and the last run came to its end."""
    text, base, kills_wanted = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    prepared = base / "prepared"
    import_all()
    began = os.times().elapsed
    train(base / "reference", text, prepared, None)
    whole_s = os.times().elapsed - began
    random.seed(0)
    kills, runs, number = 0, [], 0
    while kills < kills_wanted:
        number += 1
        folder = base / f"killed-{number}"
        while not train(
            folder, text, prepared, random.uniform(0, whole_s) if kills < kills_wanted else None
        ):
            kills += 1
        runs.append(folder.name)
    print(json.dumps({"kills": kills, "runs": runs}))


if __name__ == "__main__":
    main()
