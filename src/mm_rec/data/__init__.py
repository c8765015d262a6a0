"""Text, tokens, one memory-mapped token file, batches; knows nothing of the model."""
