"""torch.compile takes long: one small model is compiled, and everything is asked of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ivme.engines import compile_engine
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.errors import RefusedError
from ivme.models.loading import LoadedModel

Models = dict[str, LoadedModel]


def prepare(model: LoadedModel, precision: str | None = None) -> compile_engine.CompiledSession:
    return get_engine("compile").prepare(model, EngineOptions(precision=precision, new_tokens=2))


@pytest.mark.slow
def test_one_form_takes_batches_of_every_length(
    models: Models, texts: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    model = models["classifier"]
    session = prepare(model)
    expected = get_engine("transformers").prepare(model, EngineOptions())
    for batch in (texts[:2], texts, [texts[2] * 3, "Raise."]):
        ours, theirs = session.predict(batch), expected.predict(batch)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
            assert one.label == other.label

    assert session._network.forms == 1
    assert session.notes == ()
    code = session._network._run.__code__
    session.close()
    assert not compile_engine_forms(code)
    assert capfd.readouterr() == ("", "")


def compile_engine_forms(code: object) -> list[object]:
    """Return what torch still holds compiled of a function."""
    from torch._dynamo.eval_frame import _debug_get_cache_entry_list

    return _debug_get_cache_entry_list(code)


@pytest.mark.parametrize("engine", ["compile", "torchao"])
@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_models_that_generate_are_refused(models: Models, engine: str, kind: str) -> None:
    with pytest.raises(RefusedError, match=rf"encoders; the cache of a {kind} .*=prepacked"):
        get_engine(engine).prepare(models[kind], EngineOptions())


@pytest.mark.parametrize("engine", ["compile", "torchao"])
def test_a_missing_compiler_is_named(
    models: Models, engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)

    with pytest.raises(RefusedError, match=r"none of c\+\+, g\+\+, clang\+\+ is on the path.*apt"):
        get_engine(engine).prepare(models["classifier"], EngineOptions())


def test_cuda_without_triton_is_refused(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_engine, "find_spec", lambda name: None)

    with pytest.raises(RefusedError, match=r"needs triton on cuda:0: pip install 'ivme\[gpu\]'"):
        prepare(replace(models["classifier"], device="cuda:0"))


def test_other_precisions_are_refused(models: Models) -> None:
    with pytest.raises(RefusedError, match="engine=compile does not compute in 'int8'"):
        prepare(models["classifier"], "int8")


def test_a_network_that_cannot_be_compiled_is_refused_with_the_reason() -> None:
    import torch

    from ivme.engines.compiled_network import CompiledNetwork

    class Breaking(torch.nn.Module):
        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            torch._dynamo.graph_break()
            return inputs[0]

    with (
        torch.inference_mode(),
        pytest.raises(RefusedError, match=r"torch\.compile does not take this model: Unsupported"),
    ):
        CompiledNetwork(Breaking())([torch.ones(2, 3)])


def test_forms_beyond_the_kinds_of_shapes_are_noted(
    models: Models, monkeypatch: pytest.MonkeyPatch, texts: tuple[str, ...]
) -> None:
    import torch

    session = prepare(models["classifier"])
    network = session._network
    monkeypatch.setattr(network, "_compiled", network._run)  # as it is, not compiled
    session.predict(texts)
    assert session.notes == ()
    monkeypatch.setattr(type(network), "forms", 3)
    session.predict(texts)
    session.predict(texts)

    assert session.notes == (compile_engine.SURPLUS_NOTE,)
    assert torch.compiler.is_compiling() is False
