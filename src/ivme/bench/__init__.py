"""Benches: models run by engines over workloads, written down as records.

Knows engines, models and measuring; knows nothing of arguments or printing.
"""
