"""The exact recurrence: gates see the state itself, so it is stepped."""

from mm_rec.ops.exact_recurrence.reference import exact_recurrence

__all__ = ["exact_recurrence"]
