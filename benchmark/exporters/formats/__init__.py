"""One format, one module: `files(bundle)` gives what is written. Every module here is found by itself."""
