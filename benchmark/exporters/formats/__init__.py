"""One format, one module: `files(bundle)` gives what is written. Every module in this folder is found by itself."""
