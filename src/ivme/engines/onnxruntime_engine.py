"""ONNX Runtime on the CPU: an exported copy of the model, in float32 or int8."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ivme.engines import answers
from ivme.engines.artefacts import cached_artefact
from ivme.engines.protocol import EngineOptions
from ivme.errors import RefusedError, UsageError
from ivme.models.kinds import GENERATING
from ivme.whole_file import write_json

if TYPE_CHECKING:
    from ivme.engines.onnxruntime_sessions import OnnxRuntimeSession
    from ivme.models.interface import TextModel
    from ivme.models.loading import LoadedModel

DESCRIPTION = "graph.json"  # beside the .onnx files: what they need to run


BUILD_FORMAT = "2"  # raise it when what the files hold changes


class OnnxRuntimeEngine:
    """An ONNX file run by ONNX Runtime; made once and kept, so later starts need no PyTorch."""

    name = "onnxruntime"
    summary = "an exported copy in ONNX Runtime, attention fused, in float32 or int8"
    precisions: tuple[str, ...] = ("float32", "int8", "int8-static")

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None; exporting may find a reason."""
        if model.device != "cpu":
            return f"onnxruntime runs on the CPU, and {model.reference} is on {model.device}"
        if model.dtype != "float32":
            return (
                f"onnxruntime exports models in float32, and {model.reference} is in "
                f"{model.dtype}; load it with dtype=float32"
            )
        return answers.reason_for_no_answer(model)

    def prepare(self, model: "LoadedModel", options: EngineOptions) -> "OnnxRuntimeSession":
        """Return a session; the exported copy comes from the cache, or is made now.

        Raises:
            RefusedError: the model, or the precision for it, is beyond this engine.
        """
        reason = self.refusal(model) or refusal_of_precision(self, model, options)
        if reason:
            raise RefusedError(reason)
        return self.open(cached_artefact(self, model, options), model, options)

    def versions(self) -> dict[str, str]:
        """Return the versions of the libraries that the files depend on."""
        from importlib.metadata import version

        names = ("onnxruntime", "onnx", "torch", "transformers")
        return {**{name: version(name) for name in names}, "build": BUILD_FORMAT}

    def stored_precision(self, options: EngineOptions) -> str:
        """Return the precision of the files: the one that is asked for."""
        return options.precision or self.precisions[0]

    def build(self, model: "LoadedModel", options: EngineOptions, folder: Path) -> None:
        """Write the ONNX files and what they need into an empty folder.

        Raises:
            RefusedError: the model, or the precision for it, is beyond this engine.
        """
        from ivme.engines.onnx_building import build_files

        reason = self.refusal(model) or refusal_of_precision(self, model, options)
        if reason:
            raise RefusedError(reason)
        write_json(folder / DESCRIPTION, build_files(model, options, folder))

    def open(
        self, folder: Path, model: "TextModel", options: EngineOptions
    ) -> "OnnxRuntimeSession":
        """Return a session on the files in the folder.

        Raises:
            UsageError: they are missing or damaged.
        """
        from ivme.engines.onnxruntime_sessions import SESSIONS

        path = folder / DESCRIPTION
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path} does not describe an exported model ({error}); make the folder again"
            ) from error
        return SESSIONS[model.kind](folder, description, model, options)


def refusal_of_precision(
    engine: OnnxRuntimeEngine, model: "LoadedModel", options: EngineOptions
) -> str | None:
    """Return why the engine cannot compute this model in the options' precision, or None."""
    precision = options.precision or engine.precisions[0]
    if precision not in engine.precisions:
        return (
            f"onnxruntime does not compute in {precision}; expected one of "
            f"{', '.join(engine.precisions)}"
        )
    if precision != "int8-static":
        return None
    if model.kind in GENERATING:
        return (
            f"int8-static needs ranges that hold for every text, and {model.reference} writes its "
            "own; use precision=int8"
        )
    if not any(options.calibration_texts):
        return "int8-static takes its ranges from texts; give calibration_texts"
    return None
