"""Three architectures side by side on the same texts: decoder, encoder, encoder and decoder.

python examples/02_gpt_bert_t5_comparison.py [MODEL MODEL ...]
MODEL: folders, hub ids or presets; three tiny presets unless given. All are compared with the
first. Reading is one pass over a text, writing is generating 8 tokens.
"""

import sys
from statistics import median

from ivme.bench.architectures import CompareConfig, run_compare
from ivme.bench.configuration import TextSource
from ivme.report.wording import comparison_sentence

MODELS = ("preset:gpt2-tiny", "preset:bert-tiny", "preset:t5-tiny")


def main(*models):
    config = CompareConfig(
        models=models or MODELS,
        texts=TextSource(file="corpus", limit=6),
        max_length=64,
        new_tokens=8,
        budget_s=1,
        compare_budget_s=3,
    )
    record = run_compare(config)

    print(f"{'model':<18} {'architecture':<16} {'parameters':>10} {'memory':>8}  work, median")
    for one in record.measurements:
        name, work = one.configuration["model"], one.configuration["work"]
        print(
            f"{name:<18} {one.facts['architecture']:<16} "
            f"{one.facts['parameters'] / 1e6:>8.2f} M {one.peak_memory_bytes / 1e6:>5.0f} MB  "
            f"{work:<7} {median(one.samples_s['latency']) * 1e3:>8.2f} ms"
        )
    print("\nWhat each is good for")
    for name, use in dict.fromkeys(
        (one.facts["architecture"], one.facts["good_for"]) for one in record.measurements
    ):
        print(f"  {name:<16} {use}")
    print("\nReading, in turns")
    for comparison in record.comparisons:
        print(f"  {comparison_sentence(comparison)}", *comparison.notes, sep="\n    ")


if __name__ == "__main__":
    main(*sys.argv[1:])
