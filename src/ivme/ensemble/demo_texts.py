"""A demo without anyone's data: passages of the built-in corpus, and what small models make of it.

Two generators write the second class: MM-Rec, trained for some seconds on one half of the corpus,
and a chain of word pairs. Figures on such texts show that everything works, and say nothing of what
people and large models write.
"""

import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ivme.ensemble.labeled_texts import LabeledTexts, same_text
from ivme.errors import IvmeError
from ivme.hardware.cache import cache_folder
from ivme.models.corpus import corpus_documents, corpus_version
from ivme.whole_file import write_json

AI, HUMAN = "0", "1"
LABEL_NAMES = {AI: "AI", HUMAN: "Human"}
GENERATORS = ("mm-rec", "word-pairs")
HUMAN_DOMAIN = "documentation"
SHORTEST, LONGEST = 60, 160  # words of a passage
TRAIN_TEXTS, VALID_TEXTS = 400, 200  # of both classes together each
PRESET = "mm-rec-2m"
VOCABULARY = 2000  # tokens; the corpus is small
STEPS = 100  # with writing, 35 to 40 s on two cores
BATCH_TEXTS = 64  # generated together
MOST_TOKENS = 320  # of a generated text
TEMPERATURE = 0.9
FORMAT = 1  # raise it when anything here changes what is written

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class DemoTexts:
    """Texts to train on, and to validate on with the domain of each: who wrote it."""

    train: LabeledTexts
    valid: LabeledTexts
    valid_domains: tuple[str, ...]


def demo_texts(
    seed: int = 0,
    *,
    generators: Sequence[str] | None = None,
    progress: Progress = lambda line: None,
) -> DemoTexts:
    """Return the texts of the demo: half passages, half generated; generators: all unless given.

    The generators learn from other documents than the passages come from. What they wrote is kept
    in the cache folder.
    """
    generators = GENERATORS if generators is None else generators
    total = TRAIN_TEXTS + VALID_TEXTS
    shares = [total // 2 // len(generators)] * len(generators)
    shares[0] += total // 2 - sum(shares)
    written = {
        name: generated_texts(name, count, seed, progress=progress)
        for name, count in zip(generators, shares, strict=True)
    }
    return beside_passages(written, seed, train_texts=TRAIN_TEXTS)


def beside_passages(
    written: Mapping[str, Sequence[str]], seed: int, *, train_texts: int
) -> DemoTexts:
    """Return texts by generators, and as many passages by people, in any order.

    written: generator -> its texts. train_texts: how many of all are to train on.
    """
    rows = [(text, AI, name) for name, texts in written.items() for text in texts]
    human = [*passages(_documents(seed, half=0))]
    random.Random(seed).shuffle(human)
    rows = [(text, HUMAN, HUMAN_DOMAIN) for text in human[: len(rows)]] + rows
    random.Random(seed).shuffle(rows)
    train, valid = rows[:train_texts], rows[train_texts:]
    return DemoTexts(
        train=_labeled(train, "the demo"),
        valid=_labeled(valid, "the demo"),
        valid_domains=tuple(domain for _, _, domain in valid),
    )


def generated_texts(
    generator: str, count: int, seed: int, *, progress: Progress = lambda line: None
) -> tuple[str, ...]:
    """Return texts by the generator of that name, from the cache if it wrote them before.

    Raises:
        IvmeError: the model could not be trained here; its own message is given.
    """
    key = json.dumps([FORMAT, generator, count, seed, STEPS, VOCABULARY, corpus_version()])
    kept = cache_folder() / "demo" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if kept.is_file():
        return tuple(json.loads(kept.read_text(encoding="utf-8")))
    write = {"mm-rec": _texts_by_mm_rec, "word-pairs": _texts_by_word_pairs}[generator]
    texts = write(texts_to_learn(seed), count, seed, progress)
    write_json(kept, list(texts))
    return tuple(texts)


def texts_to_learn(seed: int) -> list[str]:
    """Return the passages that generators learn from; none of them is among those by people."""
    return [*passages(_documents(seed, half=1))]


def passages(documents: Sequence[str]) -> Iterator[str]:
    """Yield parts of the documents, SHORTEST to LONGEST words, cut behind sentences, each once."""
    known = set[str]()
    for document in documents:
        part: list[str] = []
        for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z])", document):
            part.append(" ".join(sentence.split()))
            words = sum(len(one.split()) for one in part)
            if words >= SHORTEST:
                passage = " ".join(" ".join(part).split()[:LONGEST])
                if same_text(passage) not in known:
                    yield passage
                known.add(same_text(passage))
                part = []


def _documents(seed: int, *, half: int) -> list[str]:
    documents = list(corpus_documents())
    random.Random(seed).shuffle(documents)
    return documents[half::2]


def _labeled(rows: Sequence[tuple[str, str, str]], source: str) -> LabeledTexts:
    texts, labels, _ = zip(*rows, strict=True)
    return LabeledTexts(texts=texts, labels=labels, source=source)


def _lengths(learned: Sequence[str], seed: int) -> Iterator[int]:
    """Yield lengths in words as passages have them: length must give nothing away."""
    generator = random.Random(seed)
    while True:
        yield len(generator.choice(learned).split())


def _texts_by_word_pairs(
    learned: Sequence[str], count: int, seed: int, progress: Progress
) -> list[str]:
    """Return texts in which every word follows the two before it as it did somewhere."""
    progress("Learning word pairs...")
    followers: dict[tuple[str, str], list[str]] = {}
    starts = []
    for text in learned:
        words = text.split()
        starts.append((words[0], words[1]))
        for first, second, third in zip(words, words[1:], words[2:], strict=False):
            followers.setdefault((first, second), []).append(third)
    generator, lengths, texts = random.Random(seed), _lengths(learned, seed), []
    for _ in range(count):
        words = [*generator.choice(starts)]
        for _ in range(next(lengths) - len(words)):
            choices = followers.get((words[-2], words[-1]))
            words += [generator.choice(choices)] if choices else generator.choice(starts)
        texts.append(" ".join(words))
    return texts


def _texts_by_mm_rec(
    learned: Sequence[str], count: int, seed: int, progress: Progress
) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="ivme-demo-") as folder:
        progress("Training MM-Rec to write the texts of the demo...")
        model = pretrain_writer(learned, Path(folder), seed)
        progress("Writing...")
        return write_texts(model, learned, count, seed)


def pretrain_writer(
    learned: Sequence[str],
    folder: Path,
    seed: int,
    *,
    training: Mapping[str, object] | None = None,
    progress: Progress = lambda line: None,
) -> Path:
    """Train MM-Rec on the texts, and return the folder of the model, which is in `folder`.

    In a process of its own, since training sets threads and allocation for the whole process.
    training: flags of `mm_rec.scripts.pretrain`; a short run of PRESET unless given. progress: told
    what the process says of its steps.

    Raises:
        IvmeError: it could not be trained here; its own message is given.
    """
    data, run = folder / "passages.jsonl", folder / "run"
    usual = {"model_name": PRESET, "vocab_size": VOCABULARY, "max_steps": STEPS}
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in learned))
    settings = {
        "data_dir": data,
        "checkpoint_dir": run,
        "eval_interval": 0,
        "sample_interval": 0,
        "keep_checkpoints": 1,
        "use_tensorboard": False,
        "seed": seed,
        "device": "cpu",
        **(usual if training is None else training),
    }
    command = [sys.executable, "-m", "mm_rec.scripts.pretrain", *_flags(settings)]
    said: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                said.append(line.strip())
                progress(said[-1])
        except BaseException:  # Ctrl-C may reach this process alone
            process.kill()
            raise
    if process.returncode:
        reason = ([line for line in said if line] or ["no message"])[-1]
        raise IvmeError(
            f"MM-Rec, which writes the texts of the demo, could not be trained: {reason}; give "
            "texts of your own with --data"
        )
    [model] = run.glob("step-*")
    return model


def _flags(settings: Mapping[str, object]) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, bool):
            yield f"--{name}" if value else f"--no-{name}"
        else:
            yield from (f"--{name}", str(value))


def write_texts(
    model_folder: Path,
    learned: Sequence[str],
    count: int,
    seed: int,
    *,
    most_tokens: int | None = None,
    temperature: float = TEMPERATURE,
    progress: Progress = lambda line: None,
) -> list[str]:
    """Return texts that the model writes from the start of a document on, as long as those learned.

    most_tokens: of a text, MOST_TOKENS unless given. progress: told how many there are.
    """
    import torch

    from ivme.models.loading import load_model
    from ivme.models.quiet import quiet_libraries

    with torch.random.fork_rng(devices=[]), quiet_libraries():
        loaded = load_model(str(model_folder), dtype="float32", device="cpu")
        model: Any = loaded.model
        start, texts = model.config.eos_token_id, list[str]()
        torch.manual_seed(seed)
        while len(texts) < count:
            prompts = torch.full((min(BATCH_TEXTS, count - len(texts)), 1), start)
            ids = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=most_tokens or MOST_TOKENS,
                do_sample=True,
                temperature=temperature,
                suppress_tokens=[start],
            )
            texts += loaded.tokenizer.batch_decode(ids, skip_special_tokens=True)
            progress(f"Writing... {len(texts)} of {count}")
    lengths = _lengths(learned, seed)
    return [" ".join(text.split()[: next(lengths)]) for text in texts]
