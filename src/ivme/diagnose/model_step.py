"""The training step of a Hugging Face model: a plain loop as tutorials write it.

Texts are tokenized as batches are made, AdamW changes the weights, gradients are clipped at 1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ivme.diagnose.phases import phase
from ivme.diagnose.settings import NAMES, StepSettings
from ivme.diagnose.targets import Target
from ivme.diagnose.training_step import Outline, TrainingStep
from ivme.errors import UsageError
from ivme.models.corpus import corpus_text
from ivme.models.kinds import GENERATING
from ivme.models.presets import PREFIX
from ivme.models.workloads import read_workload

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from ivme.models.loading import LoadedModel

LEARNING_RATE = 1e-5
LARGEST_NORM = 1.0  # of gradients
MASKED_SHARE = 0.15  # of the tokens of a masked language model
ITEMS = 1_000_000  # of the endless data set
CHARACTERS_PER_TOKEN = 12  # more than English needs, so that every item is cut to its full length
CORPUS_BYTES = 4_000_000
IGNORED = -100  # label of tokens without a loss
ONE_CLASS, VALUES = "single_label_classification", "regression"  # as configs name them


def outline_model(target: Target) -> Outline:
    """Return the settings of a model: all can be turned; its longest text bounds the length."""
    model = _load(target)
    longest = model.max_length or StepSettings().sequence_length
    defaults: dict[str, Any] = {"sequence_length": min(longest, StepSettings().sequence_length)}
    turnable = [name for name in NAMES if name != "checkpointing" or _can_checkpoint(model)]
    return Outline(
        defaults=defaults,
        turnable=tuple(turnable),
        name=model.reference,
        facts={"longest": model.max_length, "model": _name_of(model)},
    )


def build_model_step(target: Target, settings: StepSettings) -> TrainingStep:
    """Return a step of the model on the corpus or the texts of the target.

    Labels are the texts themselves for language models; classifiers get made-up ones, and
    embeddings a stand-in loss: the work is the same.
    """
    import torch

    loaded = _load(target)
    if settings.sequence_length > (loaded.max_length or settings.sequence_length):
        raise UsageError(
            f"sequence_length={settings.sequence_length}; {target.reference} takes "
            f"{loaded.max_length} tokens at most"
        )
    model = loaded.model.train().requires_grad_(True)
    if settings.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    shared: Any = torch.compile(model) if settings.compile else model
    batches = iter(_loader(target, loaded, settings))
    is_bfloat16 = settings.dtype == "bfloat16"

    def run() -> None:
        for _ in range(settings.accumulation):
            with phase("data"):
                batch = next(batches)
            with phase("forward"), torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
                loss = _loss(shared(**batch), loaded.kind) / settings.accumulation
            loss.backward()
        with phase("optimizer"):
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    items = settings.batch_size * settings.accumulation
    notes = ("a stand-in loss: embeddings name none of their own",)
    return TrainingStep(
        run=run,
        tokens=items * settings.sequence_length,
        items=items,
        model=shared,
        optimizer=optimizer,
        notes=notes if loaded.kind == "embedding" else (),
    )


def _load(target: Target) -> "LoadedModel":
    from ivme.models.loading import load_model

    return load_model(target.reference, kind=target.model_kind)


def _name_of(model: "LoadedModel") -> str:
    """Return the name by which Transformers loads a model: for a preset its folder."""
    return str(model.folder) if model.reference.startswith(PREFIX) else model.reference


def _can_checkpoint(model: "LoadedModel") -> bool:
    return bool(getattr(model.model, "supports_gradient_checkpointing", False))


def _loss(output: Any, kind: str) -> Any:
    if kind == "embedding":
        return output.last_hidden_state.float().square().mean()
    return output.loss


def _loader(target: Target, loaded: "LoadedModel", settings: StepSettings) -> Any:
    from torch.utils.data import DataLoader

    with_workers: dict[str, Any] = {}
    if settings.workers:
        with_workers = {"prefetch_factor": settings.prefetch, "persistent_workers": True}
    collate = Collate(
        tokenizer=loaded.tokenizer,
        kind=loaded.kind,
        labels=max(1, len(loaded.labels)),
        problem=loaded.problem_type,
        length=settings.sequence_length,
    )
    return DataLoader(
        TextItems(_text(target), settings.sequence_length * CHARACTERS_PER_TOKEN),  # type: ignore[arg-type]
        batch_size=settings.batch_size,
        collate_fn=collate,
        num_workers=settings.workers,
        **with_workers,
    )


class TextItems:
    """An endless data set: stretches of one text, in order."""

    def __init__(self, text: str, characters: int) -> None:
        self._text = text * max(1, -(-2 * characters // len(text)))
        self._characters = characters

    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, index: int) -> str:
        room = len(self._text) - self._characters
        start = index * self._characters % room
        return self._text[start : start + self._characters]


def _text(target: Target) -> str:
    if target.texts is None:
        return corpus_text(CORPUS_BYTES)
    return "\n".join(read_workload(target.texts).texts)


@dataclass(frozen=True, kw_only=True)
class Collate:
    """Makes a batch of texts: tokens of one length, and labels as the kind needs.

    A class, so that workers get it where they are not forked.
    """

    tokenizer: "PreTrainedTokenizerBase"
    kind: str
    labels: int  # of a classifier
    length: int
    problem: str | None = None  # of a classifier, as its config calls it

    def __call__(self, texts: list[str]) -> dict[str, Any]:
        """Return the arguments of the model for these texts."""
        import torch

        with phase("tokenization"):
            encoded = self.tokenizer(
                texts,
                truncation=True,
                max_length=self.length,
                padding="max_length",
                return_tensors="pt",
            )
        batch = dict(encoded)
        ids = batch["input_ids"]
        if self.kind == "classifier":
            batch["labels"] = self._class_labels(len(texts))
        elif self.kind == "masked":
            is_masked = torch.rand(ids.shape) < MASKED_SHARE
            batch["labels"] = ids.masked_fill(~is_masked, IGNORED)
            batch["input_ids"] = ids.masked_fill(is_masked, self.tokenizer.mask_token_id)
        elif self.kind in GENERATING:
            batch["labels"] = ids
        return batch

    def _class_labels(self, texts: int) -> "Tensor":
        """Return a class for each text, [B]; of several labels or of values, floats [B, labels].

        Where the config names no problem, Transformers takes one output for a value.
        """
        import torch

        classes = torch.arange(texts) % self.labels
        problem = self.problem or (VALUES if self.labels == 1 else ONE_CLASS)
        if problem == ONE_CLASS:
            return classes
        return torch.nn.functional.one_hot(classes, self.labels).float()
