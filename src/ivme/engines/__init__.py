"""Engines: ways to run a loaded model, one file each, behind one protocol."""
