"""Programs, each run as `python -m mm_rec.scripts.NAME`; the only part that may use ivme."""
