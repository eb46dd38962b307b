"""Repair templates of the agent `rules`: one module for each class, each from sources to findings."""
