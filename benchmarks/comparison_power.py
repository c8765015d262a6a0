"""How often comparisons are right on simulated machines whose true ratios are known.

    python benchmarks/comparison_power.py [--comparisons 1000] [--output comparison_power.json]

Prints, for several kinds of noise and true ratios, the share of each verdict, how often the
interval holds the true ratio, and how many blocks were needed. False verdicts on A/A (ratio 1)
must stay at 5% or less everywhere; the power depends on the noise.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "measure"))

from noisy_clock import Noise, simulated_comparison

NOISES = {
    "quiet": Noise(jitter=0.003, wander=0.01, drift=0.1, regime=0.03, spike_probability=0.005),
    "shared": Noise(),
    "drifting": Noise(drift=1.0, drift_period_calls=200),
    "wandering": Noise(wander=0.15, wander_calls=5),
    "spiky": Noise(spike_probability=0.15, spike=1.0),
    "restless": Noise(regime=0.3, regime_calls=20),
    "wild": Noise(jitter=0.05, wander=0.1, regime=0.2, regime_calls=50, spike_probability=0.1),
}
RATIOS = (1.0, 1.01, 1.03, 0.97, 1.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=1000, help="of each noise and ratio")
    parser.add_argument("--output", type=Path, help="file for all counts, as JSON")
    arguments = parser.parse_args()
    heads = ("noise", "ratio", "faster", "slower", "same", "undecided", "covered", "blocks")
    print(("{:<10}" + "{:>10}" * 7).format(*heads))
    rows = []
    for name, noise in NOISES.items():
        for ratio in RATIOS:
            rows.append(count_verdicts(name, noise, ratio, arguments.comparisons))
            print_shares(rows[-1])
    if arguments.output:
        content = {"command": sys.argv, "rows": rows}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def count_verdicts(name: str, noise: Noise, ratio: float, comparisons: int) -> dict[str, Any]:
    """Return how often comparisons of that true ratio gave each verdict, and were right."""
    results = [simulated_comparison(seed, ratio, noise) for seed in range(comparisons)]
    return {
        "noise": name,
        "ratio": ratio,
        "comparisons": comparisons,
        "verdicts": Counter(one.verdict for one in results),
        "covered": sum(one.interval[0] <= ratio <= one.interval[1] for one in results),
        "blocks": sum(len(one.blocks) for one in results) / comparisons,
    }


def print_shares(row: dict[str, Any]) -> None:
    """Print the row as shares of its comparisons."""
    counts = [row["verdicts"][verdict] for verdict in ("faster", "slower", "same", "undecided")]
    shares = [f"{count / row['comparisons']:>10.1%}" for count in (*counts, row["covered"])]
    print(
        f"{row['noise']:<10}{row['ratio']:>10.2f}{''.join(shares)}{row['blocks']:>10.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
