from dataclasses import replace

import numpy as np
import pytest

from ivme.engines import torchao_engine, traps
from ivme.engines.compiled_network import CompiledNetwork
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.engines.traps import find_session_traps
from ivme.errors import RefusedError
from ivme.models.loading import LoadedModel

Models = dict[str, LoadedModel]


@pytest.mark.slow
def test_int8_answers_are_near_and_its_products_fast(
    models: Models, texts: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    model = models["embedding"]
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    session = get_engine("torchao").prepare(model, EngineOptions())
    ours = np.array([one.vector for one in session.predict(texts)])
    full = get_engine("transformers").prepare(model, EngineOptions()).predict(texts)
    theirs = np.array([one.vector for one in full])

    np.testing.assert_allclose(ours, theirs, atol=6e-2 * np.abs(theirs).max())
    assert np.abs(ours - theirs).max() > 1e-4
    assert (session.precision, session.notes) == ("int8", ())
    after = model.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    session.close()
    assert capfd.readouterr() == ("", "")


def test_a_fast_path_that_did_not_register_is_named(
    models: Models, texts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: torchao has no patterns, and nothing compiles its int8 layers."""
    monkeypatch.setattr(traps, "TORCHAO_PATTERNS", "torchao.no_such_module")
    monkeypatch.setattr(torchao_engine, "TORCHAO_PATTERNS", "torchao.no_such_module")
    monkeypatch.setattr(CompiledNetwork, "_compile", lambda self, inputs, kind: self._run(*inputs))
    session = get_engine("torchao").prepare(models["embedding"], EngineOptions())
    session.predict(texts)
    session.predict(texts)
    (trap,) = find_session_traps("torchao", session, "int8")

    assert trap.name == "torchao fast path"
    assert session.notes == (str(trap),)


@pytest.mark.parametrize(
    ("change", "precision", "message"),
    [
        ({"device": "cuda:0"}, None, "engine=torchao quantizes for x86 processors here, not"),
        ({}, "bfloat16", "engine=torchao does not compute in 'bfloat16'; expected one of int8"),
    ],
)
def test_what_it_cannot_run_is_refused(
    models: Models, change: dict[str, str], precision: str | None, message: str
) -> None:
    with pytest.raises(RefusedError, match=message):
        get_engine("torchao").prepare(
            replace(models["classifier"], **change), EngineOptions(precision=precision)
        )


def test_a_missing_torchao_is_named(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchao_engine, "find_spec", lambda name: None)

    with pytest.raises(RefusedError, match="torchao is not installed: pip install torchao"):
        get_engine("torchao").prepare(models["classifier"], EngineOptions())
