"""What goes into a model and what comes out of it, without its weights.

Engines that run an exported copy need this and nothing else of a model, so a saved copy starts
without PyTorch: the tokenizer's files and one JSON file beside the artefact.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ivme.errors import UsageError
from ivme.models.pooling import Pooling
from ivme.whole_file import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ivme.models.loading import LoadedModel

FILE = "interface.json"
TOKENIZER_FOLDER = "tokenizer"


GENERATION_IDS = (
    "decoder_start_token_id",
    "pad_token_id",
    "eos_token_id",
    "bos_token_id",
    "forced_bos_token_id",
)


class TextModel(Protocol):
    """What reading texts and answers takes of a model; a LoadedModel has it too."""

    @property
    def reference(self) -> str:
        """The model as the caller named it."""

    @property
    def kind(self) -> str:
        """One of ivme.models.kinds.KINDS."""

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer, with a padding token."""

    @property
    def max_length(self) -> int | None:
        """Tokens that the model takes; None: no limit known."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Of a classifier, in the order of its outputs."""

    @property
    def pooling(self) -> Pooling | None:
        """Of an embedding model: how token vectors become one."""

    @property
    def problem_type(self) -> str | None:
        """Of a classifier: what its config calls the problem."""


@dataclass(frozen=True, kw_only=True)
class ModelInterface:
    """The interface of one model, to be saved beside an exported copy; see TextModel."""

    reference: str
    kind: str
    tokenizer: "PreTrainedTokenizerBase"
    max_length: int | None
    labels: tuple[str, ...]
    pooling: Pooling | None
    problem_type: str | None
    generation: dict[str, Any]  # token ids that generating starts and pads with
    content_hash: str  # of the model's files

    @classmethod
    def of(cls, model: "LoadedModel") -> "ModelInterface":
        """Return the interface of a loaded model."""
        return cls(
            reference=model.reference,
            kind=model.kind,
            tokenizer=model.tokenizer,
            max_length=model.max_length,
            labels=model.labels,
            pooling=model.pooling,
            problem_type=model.problem_type,
            generation=generation_ids(model),
            content_hash=model.content_hash,
        )

    def save(self, folder: Path) -> None:
        """Write the interface and the tokenizer's files into the folder."""
        self.tokenizer.save_pretrained(str(folder / TOKENIZER_FOLDER))
        content = {
            "reference": self.reference,
            "kind": self.kind,
            "max_length": self.max_length,
            "labels": self.labels,
            "pooling": None if self.pooling is None else asdict(self.pooling),
            "problem_type": self.problem_type,
            "generation": self.generation,
            "content_hash": self.content_hash,
            "padding_side": self.tokenizer.padding_side,  # set at loading, not in its own files
        }
        write_json(folder / FILE, content)

    @classmethod
    def load(cls, folder: Path, tokenizer: str = "transformers") -> "ModelInterface":
        """Return the interface saved in the folder.

        tokenizer: "transformers", or "file" for its file alone, which needs no PyTorch; see
        tokenizer_file.choose_tokenizer for whether both are the same.

        Raises:
            UsageError: its files are missing or damaged.
        """
        path = folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            pooling = content.pop("pooling")
            labels = tuple(content.pop("labels"))
            texts_reader = _read_tokenizer(folder / TOKENIZER_FOLDER, tokenizer)
            texts_reader.padding_side = content.pop("padding_side")
            return cls(
                **content,
                labels=labels,
                pooling=None if pooling is None else Pooling(**pooling),
                tokenizer=texts_reader,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error


def read_max_length(folder: Path) -> int | None:
    """Return the tokens that a saved model takes, its tokenizer left unread; None: no limit known.

    Raises:
        UsageError: its file is missing or damaged.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["max_length"]
        return None if found is None else int(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} does not describe a model ({error}); make the folder again")


def _read_tokenizer(folder: Path, reader: str) -> "PreTrainedTokenizerBase":
    if reader == "file":
        from ivme.models.tokenizer_file import TokenizerFile

        return TokenizerFile(folder)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def generation_ids(model: "LoadedModel") -> dict[str, Any]:
    """Return the token ids of GENERATION_IDS that generating starts, pads and ends with.

    From the settings that `generate` reads; a model that does not generate has its config alone.
    """
    settings = getattr(model.model, "generation_config", None) or model.model.config
    return {name: getattr(settings, name, None) for name in GENERATION_IDS}
