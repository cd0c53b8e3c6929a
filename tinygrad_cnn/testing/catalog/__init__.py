"""The cases of every built-in op, by family."""
