"""A member as one safetensors file: arrays, and what they mean in the file's metadata.

Reading trusts nothing: format, names, types, shapes and every pointer of a tree are checked, so a
file from somewhere else is refused by name and never followed out of its arrays.
"""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ivme.ensemble.linear import LinearModel
from ivme.ensemble.member import Member
from ivme.ensemble.trees import NODE, Forest
from ivme.errors import UsageError

FORMAT = "ivme.member"
VERSION = 1
METADATA = "member"
SUFFIX = ".safetensors"

_NODE_FIELDS = {f"node_{name}": NODE[name] for name in NODE.names or ()}
_FOREST_ARRAYS = {
    **_NODE_FIELDS,
    "roots": np.dtype(np.int32),
    "outputs": np.dtype(np.int32),
    "leaf_values": np.dtype(np.float64),
}
_LINEAR_ARRAYS = dict.fromkeys(("coefficients", "intercepts", "fill"), np.dtype(np.float64))


def member_to_bytes(member: Member) -> bytes:
    """Return the member as the content of a safetensors file."""
    from safetensors.numpy import save

    model = member.model
    meaning = {
        "format": FORMAT,
        "version": VERSION,
        "kind": "forest" if isinstance(model, Forest) else "linear",
        "link": member.link,
        "label_count": member.label_count,
        "scale": member.scale,
        "threshold": member.threshold,
        "features_hash": member.features_hash,
        "trainer": member.trainer,
        "feature_count": model.feature_count,
        "score_width": model.score_width,
        "has_float_inputs": isinstance(model, Forest) and model.has_float_inputs,
    }
    arrays = {**_arrays_of(model), "initial": member.initial}
    # One entry, because safetensors writes several in a random order, and hashes must not change.
    metadata = {METADATA: json.dumps(meaning)}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(contiguous, metadata=metadata)


def member_from_bytes(content: bytes, source: str) -> Member:
    """Return the member in the content of a safetensors file; `source` names it in errors.

    Raises:
        UsageError: no such file, damaged, of a newer version, or with parts that do not fit.
    """
    try:
        arrays, meaning = _read(content)
        member = _build(arrays, meaning)
        member.check()
    except UsageError as error:
        raise UsageError(f"{source} is refused: {error}; train this member again") from error
    return member


def _arrays_of(model: Forest | LinearModel) -> dict[str, NDArray[Any]]:
    if isinstance(model, LinearModel):
        return {name: getattr(model, name) for name in _LINEAR_ARRAYS}
    nodes = {f"node_{name}": model.nodes[name] for name in model.nodes.dtype.names or ()}
    return {
        **nodes,
        "roots": model.roots,
        "outputs": model.outputs,
        "leaf_values": model.leaf_values,
    }


def _read(content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
        meaning = json.loads(_metadata(content).get(METADATA, "{}"))
        is_ours = meaning.get("format") == FORMAT and meaning.get("version") == VERSION
    except (SafetensorError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UsageError(f"it is no safetensors file of a member ({error})") from error
    if not is_ours:
        raise UsageError(
            f"it is of format {meaning.get('format')!r}, version {meaning.get('version')!r}; "
            f"expected {FORMAT!r}, version {VERSION}"
        )
    return arrays, meaning


def _metadata(content: bytes) -> dict[str, str]:
    """Return __metadata__ of a safetensors file that `load` has accepted."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]).get("__metadata__", {})


def _build(arrays: dict[str, NDArray[Any]], meaning: dict[str, Any]) -> Member:
    try:
        is_forest = {"forest": True, "linear": False}[meaning["kind"]]
        expected = {
            **(_FOREST_ARRAYS if is_forest else _LINEAR_ARRAYS),
            "initial": np.dtype(np.float64),
        }
        _check_arrays(arrays, expected)
        return Member(
            model=_forest(arrays, meaning) if is_forest else _linear(arrays),
            link=str(meaning["link"]),
            label_count=int(meaning["label_count"]),
            initial=arrays["initial"],
            scale=float(meaning["scale"]),
            threshold=None if meaning["threshold"] is None else float(meaning["threshold"]),
            features_hash=str(meaning["features_hash"]),
            trainer=str(meaning["trainer"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"what it says of itself cannot be read ({error})") from error


def _check_arrays(arrays: dict[str, NDArray[Any]], expected: dict[str, np.dtype]) -> None:
    found = {name: array.dtype for name, array in arrays.items()}
    if found != expected:
        odd = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise UsageError(f"arrays missing, unknown or of another type: {', '.join(odd)}")
    for name, array in arrays.items():
        dimensions = 2 if name in ("leaf_values", "coefficients") else 1
        if array.ndim != dimensions:
            raise UsageError(f"{name} has shape {array.shape}; expected {dimensions} dimensions")


def _forest(arrays: dict[str, NDArray[Any]], meaning: dict[str, Any]) -> Forest:
    nodes = np.empty(len(arrays["node_feature"]), NODE)
    for name in NODE.names or ():
        if len(arrays[f"node_{name}"]) != len(nodes):
            raise UsageError(f"{len(arrays[f'node_{name}'])} of node_{name} for {len(nodes)} nodes")
        nodes[name] = arrays[f"node_{name}"]
    for array in (nodes, *arrays.values()):
        array.flags.writeable = False
    return Forest(
        nodes=nodes,
        roots=arrays["roots"],
        outputs=arrays["outputs"],
        leaf_values=arrays["leaf_values"],
        feature_count=int(meaning["feature_count"]),
        score_width=int(meaning["score_width"]),
        has_float_inputs=bool(meaning["has_float_inputs"]),
    )


def _linear(arrays: dict[str, NDArray[Any]]) -> LinearModel:
    return LinearModel(**{name: arrays[name] for name in _LINEAR_ARRAYS})
