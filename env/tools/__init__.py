"""The tools of an agent, one module each (see `base`)."""
