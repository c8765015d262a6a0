"""Diagnosis of training: where a step's time and memory go, what would change it, and by how much.

Steps run in child processes (`child`, `step_process`), so that one that raises, hangs or takes all
memory ends its own process only. `diagnosis` drives them and writes one record.
"""
