import json
import random
from dataclasses import replace

import pytest
from styles import styled_texts

from ivme.ensemble.labeled_texts import LabeledTexts
from ivme.ensemble.transformer_batches import BatchMaker, window_of
from ivme.ensemble.transformer_settings import SCRATCH, TransformerSettings
from ivme.ensemble.transformer_training import train_transformer
from ivme.errors import IvmeError, ModelNotFoundError, UsageError
from ivme.models.loading import load_model
from ivme.models.presets import preset_folder

LABELS = ("human", "machine")
TINY = {"layers": 1, "hidden_size": 32, "heads": 2, "vocabulary_size": 500, "max_length": 48}


def styled(count: int, names=LABELS) -> LabeledTexts:
    texts, labels = styled_texts(count, names)
    return LabeledTexts(texts=tuple(texts), labels=tuple(labels), source="train.csv")


class Ticking:
    """A clock that goes on by a second each time it is looked at."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        self.seconds += 1.0
        return self.seconds


@pytest.mark.parametrize("name", ["BERT", "RoBERTa"])
def test_a_small_network_from_scratch_learns_and_loads_as_any_model(tmp_path, name):
    lines: list[str] = []
    settings = TransformerSettings(**TINY, epochs=6, learning_rate=1e-2)
    facts = train_transformer(
        name, styled(240), LABELS, tmp_path / name, settings=settings, progress=lines.append
    )
    best = facts["epochs"][facts["best_epoch"] - 1]
    assert best["stop_accuracy"] > 0.75
    assert lines[0] == f"Training {name}: 1 layers of 32, from scratch, on cpu..."
    assert len(lines) == 1 + len(facts["epochs"])
    model = load_model(str(tmp_path / name))
    assert (model.kind, model.labels, model.max_length) == ("classifier", LABELS, 48)
    assert not list((tmp_path / name).glob("*.bin"))


def test_the_same_seed_gives_the_same_network(tmp_path):
    settings = TransformerSettings(**TINY, epochs=1)
    found = []
    for folder in ("a", "b"):
        train_transformer("BERT", styled(60), LABELS, tmp_path / folder, settings=settings)
        found.append((tmp_path / folder / "model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_training_ends_with_its_time_and_with_its_patience(tmp_path):
    data = styled(60)
    settings = TransformerSettings(**TINY, epochs=1000, budget_s=20.0)
    facts = train_transformer(
        "BERT", data, LABELS, tmp_path / "a", settings=settings, clock=Ticking()
    )
    assert facts["stopped_by"] == "budget"
    assert len(facts["epochs"]) < 10
    settings = TransformerSettings(**TINY, epochs=1000, patience=1, learning_rate=0.5)
    facts = train_transformer("BERT", data, LABELS, tmp_path / "b", settings=settings)
    assert facts["stopped_by"] == "patience"
    assert facts["best_epoch"] == len(facts["epochs"]) - 1


def test_a_folder_is_fine_tuned_with_a_new_head_for_other_labels(tmp_path):
    base = str(preset_folder("bert-tiny"))  # with two labels
    names = ("human", "machine", "other")
    settings = TransformerSettings(base=base, max_length=48, epochs=1)
    train_transformer("BERT", styled(60, names), names, tmp_path / "model", settings=settings)
    assert load_model(str(tmp_path / "model")).labels == names
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["num_hidden_layers"] == 2


def test_a_base_that_is_not_there_or_a_pickle_is_refused(tmp_path):
    settings = TransformerSettings(base=str(tmp_path / "nothing"))
    with pytest.raises(ModelNotFoundError, match="nothing"):
        train_transformer("BERT", styled(60), LABELS, tmp_path / "model", settings=settings)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text('{"model_type": "bert"}')
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    settings = TransformerSettings(base=str(pickled))
    with pytest.raises(UsageError, match=r"has its weights as a pickle \(pytorch_model.bin\)"):
        train_transformer("BERT", styled(60), LABELS, tmp_path / "model", settings=settings)


def test_from_scratch_there_are_two_families(tmp_path):
    with pytest.raises(UsageError, match="member 'GPT' from scratch; expected one of BERT, RoBERT"):
        train_transformer("GPT", styled(60), LABELS, tmp_path, settings=TransformerSettings(**TINY))


def test_a_loss_that_is_no_number_ends_the_training_with_advice(tmp_path):
    settings = TransformerSettings(**TINY, epochs=40, learning_rate=1e38, patience=40)
    with pytest.raises(
        IvmeError, match=r"the loss is no number any more after .* lower learning_r"
    ):
        train_transformer("BERT", styled(60), LABELS, tmp_path / "a", settings=settings)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layers": 0}, "layers=0; expected 1 or more"),
        ({"epochs": 0}, "epochs=0; expected 1 or more"),
        ({"hidden_size": 100, "heads": 3}, "expected a multiple of heads"),
        ({"budget_s": 0.0}, "budget_s=0.0; expected more than 0"),
        ({"max_length": 4}, "max_length=4"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        TransformerSettings(**wrong)


def test_time_grows_with_the_texts_within_limits():
    settings = TransformerSettings()
    assert [settings.seconds_for(count) for count in (10, 1000, 10**6)] == [30.0, 100.0, 600.0]
    assert TransformerSettings(budget_s=5.0).seconds_for(10**6) == 5.0


def test_wide_bases_are_tuned_at_lower_rates():
    tuned = TransformerSettings(base="a-folder")
    assert [tuned.rate_for(width) for width in (128, 384, 768)] == [2e-4, 2e-4, 5e-5]
    assert TransformerSettings(base="a-folder", learning_rate=1e-3).rate_for(768) == 1e-3
    assert TransformerSettings().rate_for(768) == 5e-4


@pytest.mark.parametrize(("first", "letters"), [(0x4E00, 5000), (0x0E01, 46)])
def test_every_part_of_a_text_without_blanks_comes_into_windows(first, letters):
    text = "".join(chr(first + at % letters) for at in range(5000))
    windows = [window_of(text, random.Random(seed), 90, 0.0) for seed in range(80)]
    assert all(one in text for one in windows)
    assert all(90 <= len(one) <= 8 * 90 for one in windows)
    beginnings = sum(text.startswith(one) for one in windows)
    assert 0.15 < beginnings / 80 < 0.5


def test_windows_are_runs_of_words_with_their_blanks():
    chance = random.Random(0)
    text = "  ".join(f"word{number}" for number in range(200))
    windows = [window_of(text, chance, 90, 0.5) for _ in range(80)]
    assert all(one in text for one in windows)
    counts = [len(one.split()) for one in windows]
    assert 0.3 < counts.count(90) / 80 < 0.7
    assert min(counts) >= 0.35 * 90
    assert max(counts) == 90
    beginnings = sum(one.startswith("word0 ") for one in windows)
    assert 0.15 < beginnings / 80 < 0.5
    assert max(int(one.split()[0].removeprefix("word")) for one in windows) > 90
    assert window_of("a few words", chance, 90, 1.0) == "a few words"


def test_two_members_of_one_base_become_different_networks(tmp_path):
    settings = TransformerSettings(base=str(preset_folder("bert-tiny")), max_length=48, epochs=1)
    texts = styled(60)
    for name in ("BERT", "RoBERTa"):
        train_transformer(name, texts, LABELS, tmp_path / name, settings=settings)
    found = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("BERT", "RoBERTa")]
    assert found[0] != found[1]


def test_a_tuned_base_reads_as_many_tokens_as_it_was_trained_on_and_drops_none(tmp_path):
    base = str(preset_folder("bert-tiny"))
    settings = TransformerSettings(base=base, epochs=1)
    train_transformer("BERT", styled(60), LABELS, tmp_path / "model", settings=settings)
    assert load_model(str(tmp_path / "model")).max_length == settings.tokens == 128
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["hidden_dropout_prob"] == config["attention_probs_dropout_prob"] == 0


def test_batches_hold_every_text_once_and_hide_tokens_but_no_special_ones():
    from ivme.models.tokenizers import train_tokenizer

    data = styled(50)
    tokenizer = train_tokenizer("wordpiece", 500, data.texts, 48)
    batches = BatchMaker(
        tokenizer=tokenizer,
        texts=data.texts,
        numbers=data.numbers(LABELS).tolist(),
        batch_size=8,
        max_length=48,
        recipe=replace(SCRATCH, masked_share=0.5),
        seed=0,
    )
    made = list(batches.training(1))
    assert len(made) == batches.per_epoch == 7
    tokens = [row for batch in made for row in batch["input_ids"].tolist()]
    assert len(tokens) == 50
    assert all(row[0] == tokenizer.cls_token_id and tokenizer.sep_token_id in row for row in tokens)
    hidden = sum(row.count(tokenizer.mask_token_id) for row in tokens)
    seen = sum(token not in tokenizer.all_special_ids for row in tokens for token in row)
    assert 0.35 < hidden / (hidden + seen) < 0.65
    assert all(tokenizer.mask_token_id not in batch["input_ids"] for batch in batches.whole())
