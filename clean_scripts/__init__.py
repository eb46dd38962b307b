"""Clean, correct training jobs: one folder each, with its spec."""
