"""OpenVINO: an exported copy of the model, compiled for this processor, down to 8 and 4 bits."""

import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivme.engines import answers
from ivme.engines.artefacts import cached_artefact
from ivme.engines.protocol import EngineOptions, Session
from ivme.errors import RefusedError, UsageError
from ivme.models.kinds import GENERATING
from ivme.whole_file import write_json

if TYPE_CHECKING:
    from ivme.models.interface import TextModel
    from ivme.models.loading import LoadedModel

LIBRARIES = ("openvino", "nncf", "torch", "transformers")  # that decide what the files contain
BUILD_FORMAT = "4"  # raise it when what the files hold changes
BUILD_FILE = "build.json"  # what was decided while building


KNOWN_CODE = ("transformers.", "ivme.models.frozen_lm")  # networks that conversion follows


class OpenVinoEngine:
    """Conversion by OpenVINO, quantization by NNCF, sessions that need neither PyTorch nor NNCF."""

    name = "openvino"
    summary = "a copy converted to OpenVINO and compiled for this processor"
    precisions: tuple[str, ...] = ("float32", "bfloat16", "int8", "int8-static", "int4")

    def refusal(self, model: "LoadedModel") -> str | None:
        """Return why this engine cannot run the model, or None if it can."""
        if reason := answers.reason_for_no_answer(model):
            return reason
        network = type(model.model)
        if not network.__module__.startswith(KNOWN_CODE):
            return (
                f"{model.reference} is a {network.__name__} of its own code, which OpenVINO's "
                "conversion does not know; use engine=transformers"
            )
        if model.device != "cpu":
            return f"OpenVINO runs on the processor, and {model.reference} is on {model.device}"
        if model.dtype != "float32":
            return (
                f"{model.reference} was loaded in {model.dtype}; load it with dtype=float32 and "
                f"ask for precision={model.dtype if model.dtype in self.precisions else 'bfloat16'}"
            )
        return None

    def prepare(self, model: "LoadedModel", options: EngineOptions) -> Session:
        """Return a session on the model's artefact, built at first use.

        Raises:
            RefusedError: the model cannot be converted, or not run in that precision here.
            UsageError: the engine has no such precision.
        """
        if reason := self.refusal(model):
            raise RefusedError(reason)
        self._check_precision(model, options)
        return self.open(cached_artefact(self, model, options), model, options)

    def versions(self) -> dict[str, str]:
        """Return the versions of the libraries that the files depend on."""
        libraries = {name: metadata.version(name) for name in LIBRARIES}
        return {**libraries, "build": BUILD_FORMAT}

    def stored_precision(self, options: EngineOptions) -> str:
        """Return the precision of the files: bfloat16 runs float32 ones, narrowed in compiling."""
        precision = options.precision or self.precisions[0]
        return "float32" if precision == "bfloat16" else precision

    def build(self, model: "LoadedModel", options: EngineOptions, folder: Path) -> None:
        """Write the model's files into an empty folder; raises RefusedError if it cannot."""
        if reason := self.refusal(model):
            raise RefusedError(reason)
        self._check_precision(model, options)
        if model.kind in GENERATING:
            from ivme.engines.openvino_export_generating import write_generating

            content = write_generating(model, options, folder)
        else:
            from ivme.engines.openvino_export import write_encoder

            content = write_encoder(model, options, folder)
        write_json(folder / BUILD_FILE, {"precision": self.stored_precision(options), **content})

    def open(self, folder: Path, model: "TextModel", options: EngineOptions) -> Session:
        """Return a session on the artefact in the folder, without PyTorch or NNCF.

        Raises:
            RefusedError: this processor cannot run the precision.
            UsageError: the folder holds none, or one of another precision.
        """
        self._check_precision(model, options)
        content = self._read_build(folder, options)
        if model.kind in GENERATING:
            from ivme.engines import openvino_generating as generating

            if model.kind == "causal":
                return generating.OpenVinoCausalSession(folder, model, options, content)
            return generating.OpenVinoGeneratingSession(folder, model, options, content)
        from ivme.engines.openvino_encoder import OpenVinoEncoderSession

        return OpenVinoEncoderSession(folder, model, options, content)

    def _read_build(self, folder: Path, options: EngineOptions) -> dict[str, Any]:
        """Return what was decided while building; raises UsageError if it is not what is asked."""
        try:
            content: dict[str, Any] = json.loads((folder / BUILD_FILE).read_text(encoding="utf-8"))
            stored = content["precision"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{folder} holds no OpenVINO artefact ({error}); make it again"
            ) from error
        if stored != self.stored_precision(options):
            raise UsageError(
                f"{folder} holds a model in {stored}, and precision={options.precision!r} was "
                "asked for"
            )
        return content

    def _check_precision(self, model: "TextModel", options: EngineOptions) -> None:
        """Raise where the precision is none, not for this kind, or not on this processor."""
        precision = options.precision or self.precisions[0]
        if precision not in self.precisions:
            raise UsageError(
                f"precision={precision!r}; engine openvino computes in {', '.join(self.precisions)}"
            )
        if precision == "int8-static" and model.kind in GENERATING:
            raise RefusedError(
                f"{model.reference} generates, and ranges of activations are not taken for states "
                "that grow; use precision=int8, which quantizes them as they come"
            )
        if precision == "int4" and model.kind not in GENERATING:
            raise RefusedError(
                "int4 saves memory traffic while tokens are generated one by one, and is slower "
                f"than int8 elsewhere; {model.reference} does not generate: use precision=int8"
            )
        if precision == "bfloat16":
            from ivme.engines.openvino_runtime import has_bfloat16

            if not has_bfloat16():
                raise RefusedError(
                    "this processor has no instructions for bfloat16 and OpenVINO would emulate "
                    "it, slower than float32; use precision=float32 or int8"
                )
