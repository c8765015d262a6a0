"""What makes a model faster here: device, threads, precision, inference mode, batches.

python examples/03_cpu_gpu_optimization.py [MODEL]
MODEL: an encoder, as folder, hub id or preset; preset:bert-tiny unless given. Every step is a
paired comparison; on a machine with a GPU the device is one of them.
"""

import sys

import torch

from ivme import ComparePlan, compare, load_model
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.hardware.devices import choose_device
from ivme.hardware.inventory import read_inventory
from ivme.hardware.threads import default_threads
from ivme.models.corpus import corpus_documents
from ivme.report.wording import comparison_sentence

TEXTS, TOKENS = list(corpus_documents()[:8]), 64  # longer texts are cut


def show(title, variants):
    """Print what taking turns found: the second variant against the first."""
    (comparison,) = compare(variants, plan=ComparePlan(budget_s=2.5))
    print(f"{title:<11} {comparison_sentence(comparison)}", *comparison.notes, sep="\n    ")


def main(reference="preset:bert-tiny"):
    inventory = read_inventory(with_torch=True)
    cores, device = default_threads(inventory), choose_device(None, inventory)

    def runner(threads=cores, **where):
        session = get_engine("transformers").prepare(
            load_model(reference, **where), EngineOptions(threads=threads, max_length=TOKENS)
        )
        return lambda texts=TEXTS: session.predict(texts)

    cpu = runner()
    print(f"device      {device.name}, {device.reason}")
    if device.name != "cpu":
        show("device", {"cpu": cpu, device.name: runner(device=device.name)})
    if cores > 1:
        show("threads", {"1 thread": runner(threads=1), f"{cores} threads": cpu})
    show("precision", {"float32": cpu, "bfloat16": runner(dtype="bfloat16")})
    show("batches", {"one by one": lambda: [cpu([text]) for text in TEXTS], "a batch of 8": cpu})

    model = load_model(reference)
    network = model.model.requires_grad_(True)  # as after training
    limits = {"padding": True, "truncation": True, "max_length": TOKENS}
    batch = model.tokenizer(TEXTS, **limits, return_tensors="pt")
    without = torch.inference_mode()(lambda: network(**batch))
    show("gradients", {"with gradients": lambda: network(**batch), "inference mode": without})


if __name__ == "__main__":
    main(*sys.argv[1:])
