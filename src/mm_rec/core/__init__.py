"""The mechanisms of MM-Rec: recurrence, memory, state, loss and planning."""
