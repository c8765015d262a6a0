"""The exact recurrence: gates see the state itself, so it is stepped."""
