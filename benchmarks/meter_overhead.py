"""What a meter adds to each call, in microseconds.

    python benchmarks/meter_overhead.py

Times batches of empty calls with and without the meter in turns; the goal is under 20 µs a call.
"""

import time
from statistics import median

from ivme.measure.meter import PerformanceMeter

BATCHES, CALLS = 50, 2000
GOAL_US = 20.0


def main() -> None:
    import torch  # the meter looks for its devices once it is there

    meter = PerformanceMeter("nothing")
    bare_us, metered_us = [], []
    for _ in range(BATCHES):
        bare_us.append(batch_us(nothing))
        metered_us.append(batch_us(lambda: metered(meter)))
    cost_us = median(b - a for a, b in zip(bare_us, metered_us, strict=True))
    print(f"bare call     {median(bare_us):8.3f} µs")
    print(f"metered call  {median(metered_us):8.3f} µs")
    print(f"the meter     {cost_us:8.3f} µs   goal {GOAL_US:.0f} µs   torch {torch.__version__}")


def nothing() -> None:
    pass


def metered(meter: PerformanceMeter) -> None:
    with meter.call():
        nothing()


def batch_us(run) -> float:
    start_s = time.perf_counter()
    for _ in range(CALLS):
        run()
    return (time.perf_counter() - start_s) / CALLS * 1e6


if __name__ == "__main__":
    main()
