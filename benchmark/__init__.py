"""Measuring: this package itself (`perf`); later, agents on frozen releases."""
