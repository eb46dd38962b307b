"""Scripts that do not follow the contract of the library's jobs: proved and graded by their trace alone."""
