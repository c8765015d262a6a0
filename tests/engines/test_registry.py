import subprocess
import sys

import pytest

from ivme.engines.protocol import Engine
from ivme.engines.registry import ENGINES, choose_engine, get_engine
from ivme.errors import UnknownEngineError


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_keeps_the_protocol_under_its_own_name(name: str) -> None:
    engine = get_engine(name)

    assert isinstance(engine, Engine)
    assert engine.name == name
    assert engine.summary


def test_an_unknown_engine_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        UnknownEngineError, match=r"engine='warp'; expected one of .*pipeline.*transformers"
    ):
        get_engine("warp")


def test_importing_the_registry_and_the_models_imports_no_heavy_library() -> None:
    code = (
        "import sys, ivme.engines.registry, ivme.engines.batching, ivme.models.loading, "
        "ivme.models.workloads, ivme.models.synthetic, ivme.models.operations; "
        "print([name for name in ('torch', 'transformers', 'numpy', 'tokenizers') "
        "if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_an_engine_is_chosen_with_its_precision() -> None:
    engine, precision = choose_engine("transformers:bfloat16")
    assert engine.name == "transformers"
    assert precision == "bfloat16"
    assert choose_engine("pipeline")[1] is None


def test_a_precision_that_the_engine_lacks_is_refused() -> None:
    with pytest.raises(UnknownEngineError, match="'pipeline:int3'; pipeline computes in float32"):
        choose_engine("pipeline:int3")
