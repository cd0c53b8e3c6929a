"""How long a training step takes, next to the libraries that users would take instead."""
