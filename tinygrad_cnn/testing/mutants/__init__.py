"""Mutants: seeded bugs that prove the kit."""
