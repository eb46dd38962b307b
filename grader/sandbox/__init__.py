"""Jails for runs: found out by trying, and reported for every result."""

from __future__ import annotations

from .doctor import Doctor, doctor
from .guarantees import GUARANTEES, REQUIRE_VARIABLE, TIER_VARIABLE, TIERS, required

__all__ = ["GUARANTEES", "REQUIRE_VARIABLE", "TIERS", "TIER_VARIABLE", "Doctor", "doctor", "required"]
