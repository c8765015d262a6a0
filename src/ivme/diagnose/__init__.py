"""Why training is slow: the anatomy of a step, sweeps one setting at a time, advice."""
