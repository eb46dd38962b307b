"""Benchmarks of this package itself. Each is a command that prints a table."""
