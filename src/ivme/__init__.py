"""Ivme: find the fastest way to run a text model on this machine, and prove it.

Importing the package has no effects and loads no heavy library.
"""

__version__ = "0.1.0"
