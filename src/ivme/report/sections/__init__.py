"""Sections of a report: each made from the data that a record holds, or left out."""
