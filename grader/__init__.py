"""Runs workspaces and decides what is wrong with them: runner, device, trace, oracles, validation."""
