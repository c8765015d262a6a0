"""OpenVINO models compiled for this processor, with every setting pinned and read back.

Needs the files that openvino_export.py wrote, and neither PyTorch nor NNCF.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.engines.openvino_gated import keep_gated_layers_apart
from ivme.engines.protocol import EngineOptions
from ivme.errors import OutOfMemoryError, RefusedError, UsageError
from ivme.hardware.signal_stack import kept_signal_stack
from ivme.hardware.threads import ThreadSettings, openvino_config
from ivme.measure.memory_guard import is_out_of_memory

if TYPE_CHECKING:
    import numpy as np

# Operations prepared for a shape that are kept for its next batch: some twenty a shape, and a
# megabyte for every few. OpenVINO would keep 5,000; with 100, texts of mixed length take half as
# long again.
SHAPES_KEPT = 1000
HINTS = {"float32": "f32", "bfloat16": "bf16"}  # the others: the fastest around the products
DYNAMIC_GROUP = 128  # activations that share a scale; 32 and 768 were slower, see experiments.md
PRODUCTS = ("FullyConnected", "FullyConnectedQuantizedLegacy", "FullyConnectedCompressed", "MatMul")
NAMES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "i8": "int8", "u8": "int8"}

_making_tables = threading.Lock()


class CompiledNetwork:
    """One compiled model; any thread may call it, each has an infer request of its own.

    shape: the one that all its inputs have, and will be compiled for; without it, any.
    """

    def __init__(
        self, path: Path, options: EngineOptions, shape: tuple[int, ...] | None = None
    ) -> None:
        precision, threads = options.precision or "float32", options.threads
        self._path, self._config = path, compile_config(precision, threads)
        self._shape = shape
        self._changing = threading.Lock()
        self._is_closed = False
        self.compiled = _compile(path, self._config, shape)
        self.inputs = tuple(port.any_name for port in self.compiled.inputs)
        self.precision_hint = self._read("INFERENCE_PRECISION_HINT").to_string()
        self._requests = threading.local()
        if self.precision_hint != (asked := self._config["INFERENCE_PRECISION_HINT"]):
            raise RefusedError(
                f"OpenVINO was asked for {asked} and compiled {path.name} for {self.precision_hint}"
            )
        if (used := self._read("INFERENCE_NUM_THREADS")) != threads:
            raise UsageError(
                f"threads={threads}, and OpenVINO uses {used}; expected at most the cores it finds"
            )

    def infer(self, inputs: "Mapping[str, np.ndarray]") -> "list[np.ndarray]":
        """Return the outputs in the model's order, as arrays of their own.

        Raises:
            OutOfMemoryError: the batch does not fit.
        """
        request = self._request()
        try:
            # Not infer(): where memory runs out it says nothing and leaves the last call's outputs.
            request.start_async(inputs, share_inputs=True)
            request.wait()
            return [tensor.data.copy() for tensor in request.output_tensors]
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                self._drop()
                raise OutOfMemoryError(
                    "OpenVINO ran out of memory on batches of "
                    f"{len(next(iter(inputs.values())))}; use a smaller batch or shorter texts"
                ) from error
            raise

    def forget(self) -> None:
        """Make the states empty, before the calling thread's next text."""
        self._request().reset_state()

    def product_precisions(self) -> dict[str, int]:
        """Return how many matrix products with weights run in each precision, as compiled."""
        counts: dict[str, int] = {}
        for node in self.compiled.get_runtime_model().get_ordered_ops():
            information = node.get_rt_info()
            if information["layerType"].value in PRODUCTS:
                used = information["runtimePrecision"].value
                name = NAMES.get(used, used)
                counts[name] = counts.get(name, 0) + 1
        return counts

    def describe(self) -> str:
        """Return a sentence on what OpenVINO says it runs."""
        counts = self.product_precisions()
        products = ", ".join(f"{count} in {name}" for name, count in sorted(counts.items()))
        hint = NAMES.get(self.precision_hint, self.precision_hint)
        return f"OpenVINO's matrix products: {products}; the rest in {hint}"

    def close(self) -> None:
        """Free the model and the requests."""
        self._is_closed = True
        self._drop()

    def _request(self) -> Any:
        """Return the calling thread's infer request, made at its first call."""
        with self._changing:
            if self._is_closed:
                raise UsageError("the session was closed before this call; prepare another")
            if self.compiled is None:
                self.compiled = _compile(self._path, self._config, self._shape)
            if not hasattr(self._requests, "own"):
                self._requests.own = self.compiled.create_infer_request()
            return self._requests.own

    def _drop(self) -> None:
        """Free the compiled model, which is of no use after memory ran out in the middle of it."""
        with self._changing:
            self.compiled = None
            self._requests = threading.local()

    def _read(self, name: str) -> Any:
        return self.compiled.get_property(name)


def compile_config(precision: str, threads: int) -> dict[str, Any]:
    """Return the properties that a model of this precision is compiled with.

    Around int8 products the rest runs in bfloat16 where the processor has instructions for it:
    attention takes a quarter of the time at 512 tokens, and half of that in bfloat16.
    """
    fast = "bf16" if has_bfloat16() else "f32"
    hint = HINTS.get(precision, fast)
    config = openvino_config(ThreadSettings(intra=threads)) | {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": hint,
        "KV_CACHE_PRECISION": hint,
        "ENABLE_CPU_PINNING": False,  # processes side by side would be pinned to the same cores
        "CPU_RUNTIME_CACHE_CAPACITY": SHAPES_KEPT,
    }
    if precision in ("int8", "int4"):
        config["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(DYNAMIC_GROUP)
    return config


def has_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16; OpenVINO emulates it else."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def make_type_tables() -> None:
    """Let OpenVINO make the tables of types that its first call needs, in one thread.

    It makes them while it holds a C++ guard, and gives the interpreter away in between: two threads
    whose first calls meet there wait for each other for ever.
    """
    import numpy as np
    import openvino

    with _making_tables:
        openvino.Type.f32.to_dtype()
        assert openvino.Tensor(np.zeros(1, dtype=np.float32)).data.size == 1


def _compile(path: Path, config: Mapping[str, Any], shape: tuple[int, ...] | None) -> Any:
    import openvino

    make_type_tables()
    core = openvino.Core()
    try:
        with kept_signal_stack():
            network = core.read_model(str(path))
            if shape is not None:
                network.reshape({port.any_name: list(shape) for port in network.inputs})
            if config["INFERENCE_NUM_THREADS"] == 1:
                keep_gated_layers_apart(network)
            return core.compile_model(network, "CPU", config)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"the model in {path.parent} does not fit into memory; use precision=int8"
            ) from error
        raise UsageError(
            f"OpenVINO cannot read {path}: {first_line(error)}; make it again"
        ) from error


def first_line(error: BaseException) -> str:
    """Return the part of OpenVINO's many lines that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (said or lines or [type(error).__name__])[0]
