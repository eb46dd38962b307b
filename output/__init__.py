"""Where variants go: rows and folders, many of them, and going on after a kill."""
