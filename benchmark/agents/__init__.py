"""Agents: what plays episodes. One module each; `base.py` says what an agent is."""
