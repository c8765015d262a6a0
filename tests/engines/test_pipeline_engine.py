import pytest

from ivme.engines.pipeline_engine import PipelineEngine
from ivme.engines.protocol import EngineOptions
from ivme.errors import RefusedError
from ivme.models.loading import LoadedModel


def test_seq2seq_models_are_refused_with_the_reason(models: dict[str, LoadedModel]) -> None:
    with pytest.raises(RefusedError, match=r"no pipeline for seq2seq.*use engine=transformers"):
        PipelineEngine().prepare(models["seq2seq"], EngineOptions())


def test_the_pipeline_runs_the_loaded_model_itself(models: dict[str, LoadedModel]) -> None:
    session = PipelineEngine().prepare(models["classifier"], EngineOptions())

    assert session._pipeline.model is models["classifier"].model
    assert session._pipeline.tokenizer is models["classifier"].tokenizer


def test_a_pipeline_leaves_the_models_generation_settings_alone(
    models: dict[str, LoadedModel],
) -> None:
    before = models["causal"].model.generation_config.to_dict()
    session = PipelineEngine().prepare(models["causal"], EngineOptions(new_tokens=2))
    session.predict(["a text"])

    assert models["causal"].model.generation_config.to_dict() == before


def test_nothing_is_printed(
    models: dict[str, LoadedModel], capfd: pytest.CaptureFixture[str]
) -> None:
    session = PipelineEngine().prepare(models["causal"], EngineOptions(new_tokens=2))
    session.predict(["a text", "a longer text"])

    assert capfd.readouterr() == ("", "")


def test_a_precision_that_the_model_was_not_loaded_in_is_refused(
    models: dict[str, LoadedModel],
) -> None:
    options = EngineOptions(precision="bfloat16")
    with pytest.raises(RefusedError, match=r"as it was loaded, in float32: load it with dtype="):
        PipelineEngine().prepare(models["classifier"], options)

    same = EngineOptions(precision="float32")
    assert PipelineEngine().prepare(models["classifier"], same).precision == "float32"
