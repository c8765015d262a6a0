"""Presets: models with random weights and a tokenizer trained on the spot, with no network.

A recipe says how one is made. Made once, a preset is an ordinary model folder in the cache
folder, and is loaded as any other folder is. Its weights are seeded, its answers meaningless: a
preset is for measuring speed and memory, which do not depend on what the weights say.
"""

import dataclasses
import hashlib
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.errors import ModelNotFoundError
from ivme.hardware.cache import cache_folder
from ivme.models.corpus import corpus_documents, corpus_version
from ivme.models.quiet import quiet_libraries
from ivme.models.tokenizers import train_tokenizer
from mm_rec import presets as mm_rec_presets

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PREFIX = "preset:"
MARKER = "ivme_preset.json"  # written last: a folder without it is half made
NO_LIMIT = 10**9  # tokens; what a model without a longest text may take
FORMAT = 2  # raise it when the making changes and recipes do not


@dataclass(frozen=True, kw_only=True)
class PresetRecipe:
    """How a preset is made: a model class, its configuration, a tokenizer family and a seed."""

    name: str
    summary: str
    model_class: str
    config_class: str
    config: Mapping[str, Any]  # without vocab_size and token ids, which follow the tokenizer
    tokenizer: str  # one of ivme.models.tokenizers.FAMILIES
    vocabulary_size: int  # tokens of the tokenizer
    max_length: int  # tokens
    embedding_rows: int | None = None  # where the model has more than the tokenizer; T5 does
    module: str = "transformers"  # where the two classes are
    seed: int = 0
    token_ids: Mapping[str, str] = field(default_factory=dict)  # config field -> token's text

    @property
    def digest(self) -> str:
        """What the preset's files depend on, as a hash: the recipe, the corpus, our format."""
        parts = [FORMAT, corpus_version(), dataclasses.asdict(self)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


BERT_TOKENS = {"pad_token_id": "[PAD]"}
ROBERTA_TOKENS = {"pad_token_id": "<pad>", "bos_token_id": "<s>", "eos_token_id": "</s>"}
GPT2_TOKENS = {"bos_token_id": "<|endoftext|>", "eos_token_id": "<|endoftext|>"}
T5_TOKENS = {
    "pad_token_id": "<pad>",
    "eos_token_id": "</s>",
    "decoder_start_token_id": "<pad>",
}

PRESETS: dict[str, PresetRecipe] = {}


def add_preset(recipe: PresetRecipe) -> None:
    """Make `preset:<recipe.name>` loadable; a recipe of the same name is replaced."""
    PRESETS[recipe.name] = recipe


def find_preset(name: str) -> PresetRecipe:
    """Return the recipe called `name`, with or without "preset:" before it.

    Raises:
        ModelNotFoundError: there is none; the message lists those there are.
    """
    short = name.removeprefix(PREFIX)
    if short not in PRESETS:
        raise ModelNotFoundError(
            f"no preset {short!r}; the presets are {', '.join(PREFIX + key for key in PRESETS)}"
        )
    return PRESETS[short]


def preset_folder(name: str) -> Path:
    """Return the model folder of a preset, made now if it is not there or not whole.

    Safe for several processes at once: each makes its own copy aside, and the first one that is
    done is kept.

    Raises:
        ModelNotFoundError: there is no such preset.
        WorkloadError: this Python holds too little text to train a tokenizer on.
    """
    recipe = find_preset(name)
    folder = cache_folder() / "presets" / f"{recipe.name}-{recipe.digest[:12]}"
    if not is_whole(folder, recipe):
        _make_aside(folder, recipe)
    return folder


def is_whole(folder: Path, recipe: PresetRecipe) -> bool:
    """Return whether `folder` holds every file of the preset, in the size it was written."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in marker["file_bytes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return marker.get("digest") == recipe.digest and sizes == marker["file_bytes"]


def _make_aside(folder: Path, recipe: PresetRecipe) -> None:
    """Make the preset in a temporary folder and rename it to `folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{recipe.name}-"))
    try:
        made = aside / "made"
        _write_files(made, recipe)
        if folder.exists() and not is_whole(folder, recipe):
            os.replace(folder, aside / "damaged")
        try:
            os.replace(made, folder)
        except OSError:
            if not is_whole(folder, recipe):  # not merely another process that was faster
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_files(folder: Path, recipe: PresetRecipe) -> None:
    """Write config, weights and tokenizer to `folder`, and the marker last."""
    import torch

    module = importlib.import_module(recipe.module)
    with quiet_libraries(), torch.random.fork_rng(devices=[]):
        tokenizer = train_tokenizer(
            recipe.tokenizer, recipe.vocabulary_size, corpus_documents(), recipe.max_length
        )
        config = getattr(module, recipe.config_class)(
            **recipe.config,
            **_token_ids(recipe, tokenizer),
            vocab_size=recipe.embedding_rows or recipe.vocabulary_size,
        )
        torch.manual_seed(recipe.seed)
        model = getattr(module, recipe.model_class)(config)
        _silence_start(model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _write_marker(folder, recipe)


def _silence_start(model: "PreTrainedModel") -> None:
    """Set the embedding that decoding starts from to zero, where there is one.

    With tied random embeddings a decoder answers with the token it is given: started from padding
    it would write nothing but padding, and every comparison of texts would pass.
    """
    import torch

    start = getattr(model.config, "decoder_start_token_id", None)
    if start is not None:
        with torch.no_grad():
            model.get_input_embeddings().weight[start] = 0


def _token_ids(recipe: PresetRecipe, tokenizer: "PreTrainedTokenizerFast") -> dict[str, int]:
    return {
        name: tokenizer.convert_tokens_to_ids(token) for name, token in recipe.token_ids.items()
    }


def _write_marker(folder: Path, recipe: PresetRecipe) -> None:
    sizes = {}
    for path in sorted(folder.iterdir()):
        sizes[path.name] = path.stat().st_size
        _flush_to_disk(path)
    marker = {"name": recipe.name, "digest": recipe.digest, "file_bytes": sizes}
    path = folder / MARKER
    path.write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    _flush_to_disk(path)


def _flush_to_disk(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _bert(name: str, summary: str, hidden_size: int, layers: int, heads: int) -> PresetRecipe:
    return PresetRecipe(
        name=name,
        summary=summary,
        model_class="BertForSequenceClassification",
        config_class="BertConfig",
        config={
            "hidden_size": hidden_size,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": 4 * hidden_size,
            "initializer_range": 0.02 * (768 / hidden_size) ** 0.5,  # as strong at any width
            "num_labels": 2,
        },
        tokenizer="wordpiece",
        vocabulary_size=30522,
        max_length=512,
        token_ids=BERT_TOKENS,
    )


def _gpt2(name: str, summary: str, width: int, layers: int, heads: int) -> PresetRecipe:
    return PresetRecipe(
        name=name,
        summary=summary,
        model_class="GPT2LMHeadModel",
        config_class="GPT2Config",
        config={"n_embd": width, "n_layer": layers, "n_head": heads},
        tokenizer="gpt2",
        vocabulary_size=50257,
        max_length=1024,
        token_ids=GPT2_TOKENS,
    )


def _t5(name: str, summary: str, width: int, inner: int, layers: int, heads: int) -> PresetRecipe:
    return PresetRecipe(
        name=name,
        summary=summary,
        model_class="T5ForConditionalGeneration",
        config_class="T5Config",
        config={
            "d_model": width,
            "d_ff": inner,
            "num_layers": layers,
            "num_heads": heads,
            "d_kv": 64,
        },
        tokenizer="unigram",
        vocabulary_size=32100,
        embedding_rows=32128,
        max_length=512,
        token_ids=T5_TOKENS,
    )


def _mm_rec(name: str, summary: str) -> PresetRecipe:
    settings = dict(mm_rec_presets.PRESETS[name])
    return PresetRecipe(
        name=name,
        summary=summary,
        model_class="MMRecForCausalLM",
        config_class="MMRecConfig",
        # A vocabulary of all bytes needs one more token, for the end of a text.
        vocabulary_size=max(257, settings.pop("vocab_size")),
        config=settings,
        tokenizer="gpt2",
        max_length=NO_LIMIT,
        module="mm_rec",
        token_ids=GPT2_TOKENS,
    )


for _recipe in (
    _mm_rec("mm-rec-1m-char", "recurrent, 3 layers of 128, byte by byte"),
    _mm_rec("mm-rec-2m-char", "recurrent, 4 layers of 192, byte by byte"),
    _mm_rec("mm-rec-2m", "recurrent, 4 layers of 128, one memory"),
    _mm_rec("mm-rec-10m", "recurrent, 6 layers of 256, one memory"),
    _mm_rec("mm-rec-100m", "recurrent, 6 layers of 768, two memories"),
    _bert("bert-base", "encoder, 12 layers of 768, two labels", 768, 12, 12),
    _bert("bert-tiny", "encoder, 2 layers of 128, two labels", 128, 2, 2),
    PresetRecipe(
        name="roberta-base",
        summary="encoder, 12 layers of 768, byte-level tokens, two labels",
        model_class="RobertaForSequenceClassification",
        config_class="RobertaConfig",
        config={"max_position_embeddings": 514, "type_vocab_size": 1, "num_labels": 2},
        tokenizer="roberta",
        vocabulary_size=50265,
        max_length=512,
        token_ids=ROBERTA_TOKENS,
    ),
    PresetRecipe(
        name="distilbert",
        summary="encoder, 6 layers of 768, two labels",
        model_class="DistilBertForSequenceClassification",
        config_class="DistilBertConfig",
        config={"num_labels": 2},
        tokenizer="wordpiece",
        vocabulary_size=30522,
        max_length=512,
        token_ids=BERT_TOKENS,
    ),
    _gpt2("gpt2", "decoder, 12 layers of 768", 768, 12, 12),
    _gpt2("gpt2-tiny", "decoder, 2 layers of 128", 128, 2, 2),
    _t5("t5-small", "encoder and decoder, 6 layers of 512 each", 512, 2048, 6, 8),
    _t5("t5-tiny", "encoder and decoder, 2 layers of 128 each", 128, 512, 2, 2),
):
    add_preset(_recipe)
