"""Models to ONNX files: tracing, and the check that a file answers as the model does.

Loads PyTorch; the sessions that run the files do not.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ivme.engines.onnxruntime_calls import open_session
from ivme.errors import RefusedError
from ivme.hardware.threads import torch_threads

if TYPE_CHECKING:
    from ivme.models.loading import LoadedModel

OPSET = 17  # the newest that the transformer fusions of ONNX Runtime know all patterns of
# Of the largest magnitude in an answer: float32 sums in another order differ by 1e-6 of it.
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One function to export: its tensors by name, and their axes that vary.

    example: what it is traced with; check: others, of other sizes, that it must answer alike.
    """

    network: torch.nn.Module
    example: Mapping[str, torch.Tensor]
    check: Mapping[str, torch.Tensor]
    outputs: Sequence[str]
    open_axes: Mapping[str, Mapping[int, str]]  # of inputs and outputs

    def answer(self) -> list[np.ndarray]:
        """Return what the network answers to the check, one array an output."""
        with torch.inference_mode():
            answer = self.network(*self.check.values())
        tensors = answer if isinstance(answer, tuple) else (answer,)
        return [tensor.float().numpy() for tensor in tensors]


def export(model: "LoadedModel", graph: Graph, path: Path, threads: int) -> None:
    """Write the graph as an ONNX file and check its answers.

    The tracing exporter: in the graphs of the other one ONNX Runtime recognizes no attention.

    Raises:
        RefusedError: it cannot be traced, or the file answers otherwise.
    """
    with eager_attention(model.model), torch_threads(threads):
        try:
            with _quiet_export(), torch.no_grad():
                torch.onnx.export(
                    graph.network,
                    tuple(graph.example.values()),
                    str(path),
                    input_names=list(graph.example),
                    output_names=list(graph.outputs),
                    dynamic_axes={name: dict(axes) for name, axes in graph.open_axes.items()},
                    opset_version=OPSET,
                    dynamo=False,
                )
            difference = largest_difference(graph, path)
        except Exception as error:  # whatever a model's code raises when it is traced
            raise RefusedError(_cannot(model, str(error).strip().split("\n")[0])) from error
        if difference > TOLERANCE:
            raise RefusedError(_cannot(model, f"the file's answers are {difference:.1g} off"))


def largest_difference(graph: Graph, path: Path) -> float:
    """Return how far the file's answers are from the network's, in parts of their magnitude."""
    session = open_session(path, threads=1)
    taken = {port.name for port in session.get_inputs()}
    feeds = {name: tensor.numpy() for name, tensor in graph.check.items() if name in taken}
    differences = [
        float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-6))
        for ours, theirs in zip(session.run(None, feeds), graph.answer(), strict=True)
    ]
    return max(differences)


@contextmanager
def eager_attention(model: torch.nn.Module) -> Iterator[None]:
    """Let a model compute attention in plain products, then as it did before.

    The fused kernel of PyTorch is traced to a graph that ONNX Runtime does not recognize.
    """
    found: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    configs = {id(config): config for config in found if hasattr(config, "_attn_implementation")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = "eager"
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


@contextmanager
def _quiet_export() -> Iterator[None]:
    """Silence what tracing says about sizes in Python code: the check looks at the outcome."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _cannot(model: "LoadedModel", reason: str) -> str:
    return (
        f"{model.reference} ({type(model.model).__name__}) cannot be exported to ONNX: {reason}; "
        "use engine=transformers"
    )
