"""Where models come from: a preset, a folder, or the Hugging Face hub, each as a local folder.

The hub is asked only for what is not in its local cache, and only after a quick look whether it
can be reached: without a network the answer comes in seconds, not after minutes of retries.
"""

import json
import os
import re
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

from ivme.errors import ModelNotFoundError, UsageError
from ivme.models.presets import PREFIX, PRESETS, preset_folder
from ivme.models.quiet import quiet_libraries

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
REACH_S = 3.0  # seconds to wait for the hub before giving up
WANTED = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]
UNWANTED = ["*/*.safetensors", "onnx/*", "openvino/*", "*.fp16.safetensors"]
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def model_folder(reference: str) -> Path:
    """Return the local folder of a preset, a folder's path or a hub id, downloading if need be.

    A copy in the hub's local cache is used as it is, without asking for a newer one.

    Raises:
        ModelNotFoundError: there is no such model, or the hub cannot be reached.
        UsageError: the folder is no model folder, or its weights are pickles.
    """
    if reference.startswith(PREFIX):
        return preset_folder(reference)
    path = Path(reference).expanduser()
    if reference and path.exists():
        check_files(path, reference)
        return path
    if not HUB_ID.fullmatch(reference) or reference.endswith(".git"):
        raise ModelNotFoundError(f"no model folder {reference!r}; {_other_ways()}")
    return _hub_folder(reference)


def check_files(folder: Path, reference: str) -> None:
    """Raise UsageError unless the folder holds a config, safetensors weights and a tokenizer."""
    if not folder.is_dir():
        raise UsageError(
            f"model {reference!r} is a file; give the folder that holds its config.json and "
            "model.safetensors"
        )
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"model folder {reference!r} has no config.json; give a folder as save_pretrained() "
            "writes it"
        )
    if not any(folder.glob("*.safetensors")):
        raise UsageError(_no_safetensors(folder, reference))
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UsageError(
            f"model folder {reference!r} has no tokenizer; save one into it: "
            "AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        )


def _no_safetensors(folder: Path, reference: str) -> str:
    pickles = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
    if not pickles:
        return f"model folder {reference!r} has no weights; expected model.safetensors"
    return (
        f"model {reference!r} has its weights as a pickle ({pickles[0].name}), which can run code "
        "when loaded; if you trust it, convert it: "
        "AutoModel.from_pretrained(folder).save_pretrained(folder), with the class it was made by"
    )


def _hub_folder(reference: str) -> Path:
    """Return the folder of a hub model: the cached copy if it is whole, else a download."""
    from huggingface_hub import is_offline_mode

    cached = _cached(reference)
    if cached is not None:
        check_files(cached, reference)
        return cached
    if is_offline_mode():
        raise _not_found(reference, "HF_HUB_OFFLINE forbids to download it")
    if not hub_is_reachable():
        raise _not_found(reference, "the hub cannot be reached")
    folder = _download(reference)
    check_files(folder, reference)
    return folder


def _not_found(reference: str, reason: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"no model {reference!r}: there is no such folder, the hub's local cache does not have "
        f"it, and {reason}; {_other_ways()}"
    )


def _cached(reference: str) -> Path | None:
    """Return the folder of the copy in the hub's local cache, if there is a whole one."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(reference, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if _is_whole(folder) else None


def _download(reference: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    with quiet_libraries():
        try:
            folder = snapshot_download(reference, allow_patterns=WANTED, ignore_patterns=UNWANTED)
        except RepositoryNotFoundError as error:
            raise _not_found(reference, "the hub has none of that name open to you") from error
        except Exception as error:  # the client raises those of several network libraries
            raise _not_found(reference, f"its download failed ({_first_line(error)})") from error
    return Path(folder)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _is_whole(folder: Path) -> bool:
    """Return whether a cached copy has a config and all of its weights."""
    index = folder / "model.safetensors.index.json"
    if not (folder / "config.json").is_file():
        return False
    if not index.is_file():
        return (folder / "model.safetensors").is_file()
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError):
        return False
    return all((folder / shard).is_file() for shard in shards)


def hub_is_reachable(wait_s: float = REACH_S) -> bool:
    """Return whether a connection to the hub, or to the proxy before it, opens within `wait_s`."""
    from huggingface_hub.constants import ENDPOINT

    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urlsplit(proxy or ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    reached = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((address.hostname, port), timeout=wait_s).close()
        except OSError:
            return
        reached.set()

    attempt = threading.Thread(target=connect, daemon=True)  # a name look-up has no time limit
    attempt.start()
    attempt.join(wait_s)
    return reached.is_set()


def _other_ways() -> str:
    names = ", ".join(PREFIX + name for name in ("bert-tiny", "gpt2-tiny", "t5-tiny"))
    return (
        f"without a network give a model folder or one of {len(PRESETS)} presets ({names}, ...), "
        "or download the model elsewhere and set HF_HUB_OFFLINE=1"
    )
