"""The engines by name. Asking for one imports its file; this one imports nothing heavy.

To add an engine: one file that defines a class as protocol.py says, and one line in ENGINES.
"""

import importlib

from ivme.engines.protocol import Engine
from ivme.errors import UnknownEngineError

ENGINES = {  # name -> module and class
    "transformers": "ivme.engines.transformers_engine:TransformersEngine",
    "pipeline": "ivme.engines.pipeline_engine:PipelineEngine",
    "prepacked": "ivme.engines.prepacked_engine:PrepackedEngine",
    "fused": "ivme.engines.fused_engine:FusedEngine",
    "compile": "ivme.engines.compile_engine:CompileEngine",
    "torchao": "ivme.engines.torchao_engine:TorchaoEngine",
    "bitsandbytes": "ivme.engines.bitsandbytes_engine:BitsAndBytesEngine",
    "onnxruntime": "ivme.engines.onnxruntime_engine:OnnxRuntimeEngine",
    "openvino": "ivme.engines.openvino_engine:OpenVinoEngine",
}


def get_engine(name: str) -> Engine:
    """Return the engine called `name`.

    Raises:
        UnknownEngineError: there is none; the message lists those there are.
    """
    if name not in ENGINES:
        raise UnknownEngineError(f"engine={name!r}; expected one of {', '.join(sorted(ENGINES))}")
    module, _, class_name = ENGINES[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), class_name)()
    return engine


def choose_engine(choice: str) -> tuple[Engine, str | None]:
    """Return the engine and the precision that "NAME" or "NAME:PRECISION" asks for.

    The precision is None where none is named: as the engine does by itself.

    Raises:
        UnknownEngineError: there is no such engine, or it has no such precision.
    """
    name, _, precision = choice.partition(":")
    engine = get_engine(name)
    if precision and precision not in engine.precisions:
        raise UnknownEngineError(
            f"engine={choice!r}; {name} computes in {', '.join(engine.precisions)}"
        )
    return engine, precision or None
