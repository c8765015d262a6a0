"""Models and what to run on them: loading, offline presets, the built-in corpus, workloads."""
