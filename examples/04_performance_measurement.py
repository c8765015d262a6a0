"""Measuring by hand: a meter for every batch size, a record with all samples, a report with plots.

python examples/04_performance_measurement.py [MODEL [FOLDER]]
MODEL: folder, hub id or preset; preset:bert-tiny unless given. FOLDER: where the record and the
report go; out/ unless given.
"""

import sys
from dataclasses import asdict
from pathlib import Path

from ivme import PerformanceMeter, load_model, save_record
from ivme.engines.protocol import EngineOptions
from ivme.engines.registry import get_engine
from ivme.hardware.inventory import read_inventory
from ivme.hardware.threads import default_threads
from ivme.measure.memory import release_free_memory
from ivme.measure.records import new_record
from ivme.models.synthetic import synthetic_workload
from ivme.report.writing import write_report

TOKENS, BUDGET_S = 64, 1.5


def measure(reference, size, options):
    """Return the measurement of one batch size, from load to steady state."""
    release_free_memory()  # of the model before, so that memory counts this one alone
    meter = PerformanceMeter(
        f"batch {size}",
        items_per_call=size,
        tokens_per_call=size * TOKENS,
        configuration={"model": reference, "batch_size": size, "tokens": TOKENS},
    )
    with meter.loading():
        model = load_model(reference)
        session = get_engine("transformers").prepare(model, options)
    is_masked = model.kind == "masked"
    work = synthetic_workload(model.tokenizer, tokens=TOKENS, count=size, with_mask=is_masked)
    meter.measure(lambda: session.predict(work.texts), budget_s=BUDGET_S)
    print(meter.summary(), end="\n\n")
    return meter.measurement()


def main(reference="preset:bert-tiny", folder="out"):
    inventory = read_inventory(with_torch=True)
    options = EngineOptions(threads=default_threads(inventory))
    load_model(reference)  # or the first one measured would be charged for imports
    measured = [measure(reference, size, options) for size in (1, 4, 16)]
    settings = {"threads": options.threads, "budget_s": BUDGET_S}
    notes = ["memory of the first batch size includes what torch keeps after its first call"]
    what = {"settings": settings, "measurements": measured, "notes": notes}
    record = new_record("bench", sys.argv, asdict(inventory), **what)
    save_record(record, Path(folder, "measurement.json"))
    write_report([record], Path(folder, "report.html"))
    print(f"every sample and the report with plots: {folder}/measurement.json, report.html")


if __name__ == "__main__":
    main(*sys.argv[1:])
