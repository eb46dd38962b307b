"""Scripts of somebody's own: read, broken, proved and graded by their trace."""
