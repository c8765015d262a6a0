"""Whether reruns of the ledger give the same verdicts.

    python benchmarks/claim_experiments/reruns.py out/run-*/claims.json

Prints every claim whose verdicts differ, and how often each came out. Exit status 1 if one has its
usual verdict in fewer than nine of ten runs.
"""

import sys
from collections import Counter, defaultdict
from pathlib import Path

from ivme.measure.records import load_record

LEAST_AGREEMENT = 0.9


def main(paths: list[str]) -> int:
    if len(paths) < 2:
        print("give two or more claims.json of `ivme claims`", file=sys.stderr)
        return 2
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    for path in paths:
        for one in load_record(Path(path)).measurements:
            verdicts[one.label]["failed" if one.failure else one.facts["verdict"]] += 1
    differing = {name: each for name, each in verdicts.items() if len(each) > 1}
    unstable = [name for name, each in differing.items() if _agreement(each) < LEAST_AGREEMENT]
    for name, each in differing.items():
        print(f"{name}: " + ", ".join(f"{count} {word}" for word, count in each.most_common()))
    print(
        f"{len(verdicts)} claims in {len(paths)} runs: {len(verdicts) - len(differing)} always the "
        f"same, {len(unstable)} below {LEAST_AGREEMENT:.0%}"
    )
    return 1 if unstable else 0


def _agreement(verdicts: Counter[str]) -> float:
    return verdicts.most_common(1)[0][1] / verdicts.total()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
