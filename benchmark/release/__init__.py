"""Frozen releases: immutable, checksummed folders of tasks, and what proves that one is as it was frozen."""
