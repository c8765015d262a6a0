"""Tuning: the fastest configuration of a model that keeps its quality, found, proven and kept."""
