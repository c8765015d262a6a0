"""Measuring: clocks, meters, paired comparisons, memory, and the records they end up in.

Knows nothing of models or engines. Importing it loads neither torch nor numpy.
"""
