"""What this machine is and can do: inventory, measured ceilings, threads, device choice."""
