"""Jails for runs: found out by trying, and reported for every result."""

from __future__ import annotations

from .guarantees import GUARANTEES, TIERS

__all__ = ["GUARANTEES", "TIERS"]
