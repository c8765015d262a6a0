"""The chapter in which a small MM-Rec learns from the built-in corpus, and writes."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ivme.ensemble.demo_texts import (
    DemoTexts,
    beside_passages,
    pretrain_writer,
    texts_to_learn,
    write_texts,
)
from ivme.errors import UsageError
from ivme.measure.records import Measurement, Record, new_record
from ivme.tour.settings import TourSettings
from ivme.whole_folder import swap_in

WRITER = "mm-rec"  # the folder of the model, and what reports call it
NAME = "MM-Rec"
PRESET = "mm-rec-1m-char"  # writes letters: words come out of it after a minute, sense does not
MOST_LETTERS = 960  # of a text
TEMPERATURE = 0.8
MOST_POINTS = 100  # of the curve of the loss
SAMPLES = 2  # of what it writes, in the record
NOTE = (
    "A demo: MM-Rec learned from Python's documentation for some seconds. It has the sound of it "
    "and no sense; with more text and time it gets better (python -m mm_rec.scripts.pretrain)."
)

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Writing:
    """A model that writes: its folder, its texts beside as many by people, how it learned."""

    model: Path
    texts: DemoTexts
    record: Record


def check_writer(folder: Path) -> None:
    """Raise UsageError, before any work, if the writer's place in the folder is taken."""
    target = folder / WRITER
    if target.exists() and not (target / "config.json").is_file():
        raise UsageError(f"cannot write {target}: it holds something else; name another --output")


def learn_to_write(
    settings: TourSettings, folder: Path, progress: Progress = lambda line: None
) -> Writing:
    """Train MM-Rec on one half of the corpus, and let it write beside passages of the other.

    The model is kept in the folder; an older one is replaced by the whole new one or stays.

    Raises:
        IvmeError: it cannot be trained here; its own message is given.
    """
    learned = texts_to_learn(settings.seed)
    progress("starting")
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{WRITER}.") as draft:
        model = pretrain_writer(
            learned,
            Path(draft),
            settings.seed,
            training=_training(settings),
            progress=lambda line: progress(f"MM-Rec, {line}"),
        )
        start_s = time.perf_counter()
        count = (settings.train_texts + settings.valid_texts) // 2
        texts = write_texts(
            model,
            learned,
            count,
            settings.seed,
            most_tokens=MOST_LETTERS,
            temperature=TEMPERATURE,
            progress=progress,
        )
        writing_s = time.perf_counter() - start_s
        record = _record(settings, model, texts, writing_s)
        swap_in(model, folder / WRITER)
    return Writing(
        model=folder / WRITER,
        texts=beside_passages({WRITER: texts}, settings.seed, train_texts=settings.train_texts),
        record=record,
    )


def _training(settings: TourSettings) -> dict[str, object]:
    """Return the flags of the pretraining: by time, so that it is as long everywhere."""
    from mm_rec.core.cpu_amp import has_bfloat16, processor_flags

    return {
        "model_name": PRESET,
        "max_minutes": settings.writer_s / 60,
        "log_interval": 1,
        "use_amp": has_bfloat16(processor_flags()),
    }


def _record(settings: TourSettings, model: Path, texts: list[str], writing_s: float) -> Record:
    from ivme.hardware.inventory import read_inventory
    from mm_rec.training.logs import read_log

    steps = read_log(model.parent, "step")
    steps = steps[:: -(-len(steps) // MOST_POINTS)]
    [ended] = read_log(model.parent, "ended")
    measurement = Measurement(
        label=NAME,
        configuration={"writer": PRESET},
        samples_s={"training": (ended["elapsed_s"],), "writing": (writing_s,)},
        facts={
            "pretraining": {
                "parameters": _parameters(model),
                "unit": "character",
                "steps": [one["step"] for one in steps],
                "losses": [one["loss"] for one in steps],
                "validation_loss": ended["evaluation"]["loss"],
                "tokens_seen": ended["tokens_seen"],
                "samples": texts[:SAMPLES],
            }
        },
    )
    return new_record(
        "pretrain",
        settings.command,
        asdict(read_inventory()),
        asdict(settings),
        measurements=(measurement,),
        notes=(NOTE,),
    )


def _parameters(model: Path) -> int:
    """Return the weights of the model, each counted once; shared ones are stored once."""
    from safetensors import safe_open

    total = 0
    with safe_open(str(model / "model.safetensors"), framework="np") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            size = 1
            for length in file.get_slice(name).get_shape():
                size *= length
            total += size
    return total
