"""Reports: Markdown, HTML and JSON made from records alone.

Nothing here measures, loads a model or looks at this machine: a report of an old record reads
the same anywhere.
"""
