"""Programs to run with `python -m mm_rec.scripts.NAME`; each answers --help."""
