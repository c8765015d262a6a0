"""Memory of MM-Rec: in chunks, checkpointed, in bfloat16, quantized, and all together."""

import tempfile
from pathlib import Path

from claim_experiments.findings import Findings, Place, exact, saved_memory
from mm_rec import MMRecForCausalLM, preset_config
from mm_rec.core.quantization import export_int8

TRAIN = "training_memory:train_step"  # of benchmarks/


def chunking(place: Place) -> Findings:
    """Compare training on a long text in one piece with training in chunks."""
    case = {"preset": "mm-rec-2m", "batch_size": 1, "tokens": place.size(16_384, 256)}
    chunk = place.size(1024, 64)
    return Findings(facts=saved_memory(TRAIN, case, {**case, "chunk_size": chunk}, place))


def checkpointing(place: Place) -> Findings:
    """Compare a step with one that computes activations again."""
    case = {"preset": "mm-rec-10m", "batch_size": 4, "tokens": place.size(512, 32)}
    return Findings(facts=saved_memory(TRAIN, case, {**case, "is_checkpointed": True}, place))


def mixed_precision(place: Place) -> Findings:
    """Compare a step in fp32 with one under autocast to bfloat16."""
    case = {"preset": "mm-rec-10m", "batch_size": 4, "tokens": place.size(512, 32)}
    return Findings(facts=saved_memory(TRAIN, case, {**case, "is_bfloat16": True}, place))


def quantization(place: Place) -> Findings:
    """Compare the size of an int8 export, and the memory of training for it, with fp32."""
    model = MMRecForCausalLM(preset_config("mm-rec-2m"))
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "fp32")
        model.save_pretrained(whole)
        fp32_bytes = Path(whole, "model.safetensors").stat().st_size
        int8_bytes = export_int8(model, Path(folder, "int8")).stat().st_size
    case = {"preset": "mm-rec-10m", "batch_size": 4, "tokens": place.size(256, 32)}
    training = saved_memory(TRAIN, case, {**case, "is_quantized": True}, place)
    return Findings(
        facts={
            "file, fp32": exact(fp32_bytes),
            "file, int8": exact(int8_bytes),
            "file, saved_percent": exact(100 * (1 - int8_bytes / fp32_bytes)),
            "training, saved_percent": training["saved_percent"],
        }
    )


def total_memory(place: Place) -> Findings:
    """Compare a long text in one piece in fp32 with chunks, checkpoints and bfloat16."""
    case = {"preset": "mm-rec-2m", "batch_size": 1, "tokens": place.size(32_768, 256)}
    chunk = place.size(1024, 64)
    after = {**case, "chunk_size": chunk, "is_checkpointed": True, "is_bfloat16": True}
    return Findings(facts=saved_memory(TRAIN, case, after, place))
