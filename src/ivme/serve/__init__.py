"""Serving: tuned models behind HTTP, with dynamic batching, bounds and a page."""
