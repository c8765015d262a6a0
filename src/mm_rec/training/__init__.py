"""Training: from a model and a token file to checkpoints. Importing this package loads nothing."""
