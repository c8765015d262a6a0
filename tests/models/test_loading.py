import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ivme.errors import DeviceError, ModelNotFoundError, NotATextModelError, UsageError
from ivme.models.loading import load_model

Copy = Callable[[str], Path]


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("name", "kind", "architecture", "max_length"),
    [
        ("bert-tiny", "classifier", "encoder-only", 512),
        ("gpt2-tiny", "causal", "decoder-only", 1024),
        ("t5-tiny", "seq2seq", "encoder-decoder", 512),
    ],
)
def test_a_preset_is_loaded_as_what_its_config_says(
    name: str, kind: str, architecture: str, max_length: int
) -> None:
    loaded = load_model(f"preset:{name}")

    assert (loaded.kind, loaded.architecture, loaded.max_length) == (kind, architecture, max_length)
    assert (loaded.dtype, loaded.device, loaded.attention) == ("float32", "cpu", "sdpa")
    assert loaded.weight_bytes == 4 * loaded.parameters
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    assert loaded.tokenizer.pad_token_id is not None
    assert loaded.load_s > 0


def test_a_folder_loads_like_the_preset_that_it_is_a_copy_of(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")

    assert load_model(str(folder)).content_hash == load_model("preset:bert-tiny").content_hash


def test_the_content_hash_changes_with_the_weights(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\1\2\3\4")

    assert load_model(str(folder)).content_hash != load_model("preset:bert-tiny").content_hash


def test_precision_and_attention_are_pinned_and_read_back() -> None:
    loaded = load_model("preset:bert-tiny", dtype="bfloat16", attention="eager")

    assert (loaded.dtype, loaded.attention) == ("bfloat16", "eager")
    assert loaded.weight_bytes == 2 * loaded.parameters


def test_precision_does_not_follow_the_file(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")
    edit_config(folder, dtype="bfloat16")

    assert load_model(str(folder)).dtype == "float32"


def test_loading_is_timed_by_the_clock_given() -> None:
    class Steps:
        seconds = 0.0

        def now(self) -> float:
            self.seconds += 1.5
            return self.seconds

        def time(self, run: Callable[[], object]) -> float:
            raise AssertionError("loading reads the clock itself")

    assert load_model("preset:bert-tiny", clock=Steps()).load_s == 1.5


def test_a_missing_padding_token_is_filled_in_and_noted() -> None:
    loaded = load_model("preset:gpt2-tiny")

    assert loaded.tokenizer.pad_token == loaded.tokenizer.eos_token
    assert loaded.tokenizer.padding_side == "left"
    assert loaded.model.generation_config.pad_token_id == loaded.tokenizer.pad_token_id
    assert "no padding token" in loaded.notes[0]


def test_generation_is_greedy_whatever_the_folder_asks_for(copy_of: Copy) -> None:
    folder = copy_of("gpt2-tiny")
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_sample": True, "num_beams": 4}))
    loaded = load_model(str(folder))

    assert loaded.model.generation_config.do_sample is False
    assert loaded.model.generation_config.num_beams == 1
    assert loaded.notes[-1].endswith("do_sample, num_beams")


def test_labels_come_in_the_order_of_the_outputs(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")
    edit_config(
        folder, id2label={"0": "machine", "1": "human"}, label2id={"machine": 0, "human": 1}
    )

    assert load_model(str(folder)).labels == ("machine", "human")


def test_the_body_of_a_classifier_loads_as_an_embedding_model() -> None:
    loaded = load_model("preset:bert-tiny", kind="embedding")

    assert type(loaded.model).__name__ == "BertModel"
    assert loaded.pooling is not None
    assert loaded.pooling.mode == "mean"


def test_the_encoder_of_a_seq2seq_model_loads_without_its_decoder() -> None:
    whole = load_model("preset:t5-tiny")
    encoder = load_model("preset:t5-tiny", kind="embedding")

    assert encoder.architecture == "encoder-only"
    assert encoder.parameters < whole.parameters


def test_a_folder_of_sentence_transformers_is_an_embedding_model(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")
    steps = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
        {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(steps))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    loaded = load_model(str(folder))

    assert loaded.kind == "embedding"
    assert loaded.pooling is not None
    assert (loaded.pooling.mode, loaded.pooling.is_normalized) == ("first", True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "int8"}, "dtype='int8'; expected one of 'float32'"),
        ({"attention": "flash"}, "attention='flash'; expected one of 'sdpa'"),
        ({"kind": "vision"}, "kind='vision'; expected one of 'classifier'"),
        ({"kind": "seq2seq"}, "of type 'bert', of which there is no kind='seq2seq'"),
        ({"kind": "masked"}, "no fitting weights for .* tensors of a masked model"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_model("preset:bert-tiny", **arguments)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"device='cuda:99'; this machine has .*'cpu'"):
        load_model("preset:bert-tiny", device="cuda:99")


def test_a_path_that_is_not_there_names_the_ways_to_work_offline() -> None:
    with pytest.raises(ModelNotFoundError, match=r"no model folder './nowhere'.*preset:bert-tiny"):
        load_model("./nowhere")


def test_a_file_is_no_model_folder(copy_of: Copy) -> None:
    with pytest.raises(UsageError, match="is a file; give the folder"):
        load_model(str(copy_of("bert-tiny") / "model.safetensors"))


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no weights; expected model.safetensors"),
        ("tokenizer.json", "has no tokenizer; save one into it"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused(copy_of: Copy, lost: str, message: str) -> None:
    folder = copy_of("bert-tiny")
    (folder / lost).unlink()

    with pytest.raises(UsageError, match=message):
        load_model(str(folder))


def test_weights_in_a_pickle_are_refused_with_how_to_convert_them(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(
        UsageError, match=r"pickle \(pytorch_model.bin\).*save_pretrained\(folder\)"
    ):
        load_model(str(folder))


def test_a_damaged_safetensors_file_is_named(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1_000_000)

    with pytest.raises(UsageError, match="its safetensors file is damaged"):
        load_model(str(folder))


@pytest.mark.parametrize("content", ["{not json", "\ufffe", "[]", "{}"])
def test_a_damaged_config_is_named(copy_of: Copy, content: str) -> None:
    folder = copy_of("bert-tiny")
    (folder / "config.json").write_bytes(
        content.encode("utf-16" if content == "\ufffe" else "utf-8")
    )

    with pytest.raises(UsageError, match=r"config.json (is not valid JSON|names no model_type)"):
        load_model(str(folder))


def test_a_damaged_tokenizer_is_named(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")
    (folder / "tokenizer.json").write_text("{}")

    with pytest.raises(UsageError, match="its tokenizer cannot be read"):
        load_model(str(folder))


def test_a_model_of_images_is_refused(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")
    edit_config(folder, model_type="vit", architectures=["ViTForImageClassification"])

    with pytest.raises(NotATextModelError, match="'vit', which is not a text model"):
        load_model(str(folder))


def test_code_that_comes_with_a_model_is_not_run(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")
    trap = folder / "ran"
    (folder / "modeling.py").write_text(f"open({str(trap)!r}, 'w').close()")
    edit_config(
        folder,
        model_type="homemade",
        architectures=["HomemadeForMaskedLM"],
        auto_map={"AutoConfig": "modeling.C", "AutoModelForMaskedLM": "modeling.M"},
    )

    with pytest.raises(UsageError, match=r"'homemade', which needs code .* is not run"):
        load_model(str(folder))
    assert not trap.exists()


def test_errors_have_one_line(copy_of: Copy) -> None:
    folder = copy_of("bert-tiny")
    edit_config(folder, hidden_size=100)

    with pytest.raises(UsageError) as caught:
        load_model(str(folder))
    assert len(str(caught.value).splitlines()) == 1


def test_loading_prints_nothing_and_leaves_the_libraries_as_they_were(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    level = logging.getLogger("torchao").level
    load_model("preset:gpt2-tiny")

    assert capfd.readouterr() == ("", "")
    assert transformers_logging.get_verbosity() == verbosity
    assert transformers_logging.is_progress_bar_enabled()
    assert logging.getLogger("torchao").level == level


def test_models_that_are_loaded_side_by_side_keep_their_weights_tied() -> None:
    """Transformers replaces a method of all models meanwhile, and may not put it back."""
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(load_model, ["preset:gpt2-tiny"] * 12))
    for loaded in (*models, load_model("preset:gpt2-tiny")):
        assert loaded.model.lm_head.weight is loaded.model.transformer.wte.weight
