"""Square matrix products through each library: the ways that model code reaches the processor."""
