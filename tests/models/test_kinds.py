import pytest

from ivme.errors import NotATextModelError, UsageError
from ivme.models.kinds import GOOD_FOR, architecture_of, kind_of


def config(model_type: str, *classes: str, **more: object) -> dict[str, object]:
    return {"model_type": model_type, "architectures": list(classes), **more}


@pytest.mark.parametrize(
    ("description", "kind", "architecture"),
    [
        (config("bert", "BertForSequenceClassification"), "classifier", "encoder-only"),
        (config("bert", "BertForMaskedLM"), "masked", "encoder-only"),
        (config("bert", "BertForPreTraining"), "masked", "encoder-only"),
        (config("bert", "BertModel"), "embedding", "encoder-only"),
        (config("gpt2", "GPT2LMHeadModel"), "causal", "decoder-only"),
        (config("gpt2", "GPT2ForSequenceClassification"), "classifier", "decoder-only"),
        (config("llama", "LlamaForCausalLM"), "causal", "decoder-only"),
        (
            config("t5", "T5ForConditionalGeneration", is_encoder_decoder=True),
            "seq2seq",
            "encoder-decoder",
        ),
        (config("t5", "T5EncoderModel", is_encoder_decoder=True), "embedding", "encoder-only"),
        (
            config("bart", "BartForConditionalGeneration", is_encoder_decoder=True),
            "seq2seq",
            "encoder-decoder",
        ),
        (config("elsewhere", "ElsewhereForCausalLM"), "causal", "decoder-only"),
        (config("bert"), "masked", "encoder-only"),
        (config("gpt2"), "causal", "decoder-only"),
    ],
)
def test_kind_and_architecture_follow_from_the_config(
    description: dict[str, object], kind: str, architecture: str
) -> None:
    assert kind_of(description, "m") == kind
    assert architecture_of(description, kind) == architecture
    assert architecture in GOOD_FOR


@pytest.mark.parametrize(
    "description",
    [
        config("vit", "ViTForImageClassification"),
        config("vit", "ViTForImageClassification", image_size=224),
        config("clip", "CLIPModel", vision_config={}),
        config("wav2vec2", "Wav2Vec2ForCTC"),
        config("whisper", "WhisperForConditionalGeneration", num_mel_bins=80),
    ],
)
def test_a_model_that_sees_or_hears_is_refused(description: dict[str, object]) -> None:
    with pytest.raises(NotATextModelError, match=r"model 'm' .*classifier, masked"):
        kind_of(description, "m")


def test_a_text_model_of_another_kind_is_refused_with_a_way_to_its_body() -> None:
    with pytest.raises(UsageError, match=r"BertForTokenClassification.*kind='embedding'"):
        kind_of(config("bert", "BertForTokenClassification"), "m")


def test_a_config_that_tells_nothing_asks_for_the_kind() -> None:
    with pytest.raises(UsageError, match=r"names no architecture.*give kind"):
        kind_of(config("elsewhere"), "m")
