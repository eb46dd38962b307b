"""What this machine's sandbox holds, by trying every tier: what `mldebug doctor` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import RunnerError
from .guarantees import GUARANTEES, HELP, TIERS, highest_tier, required, unmet


@dataclass(frozen=True)
class Doctor:
    """tier: what a run gets here now. refused: tier → why it cannot be had. lacking: tier that can be had →
    guarantee → why it does not hold there."""

    tier: str
    refused: Mapping[str, str]
    lacking: Mapping[str, Mapping[str, str]]

    def rows(self) -> list[list[str]]:
        """A guarantee and what each tier says to it, with the tiers as the first row."""
        head = [f"{tier} *" if tier == self.tier else tier for tier in TIERS]
        return [["guarantee", *head]] + [
            [name, *(self._cell(tier, name) for tier in TIERS)] for name in GUARANTEES
        ]

    def _cell(self, tier: str, name: str) -> str:
        if tier in self.refused:
            return "–"
        return "no" if name in self.lacking[tier] else "yes"

    def text(self) -> str:
        """The table, the reasons, and what would help, for a terminal."""
        rows = self.rows()
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        lines = [line.rstrip() for line in lines] + ["", "* what runs get here"]
        for tier in TIERS:
            if tier in self.refused:
                lines += [f"{tier} cannot be had: {self.refused[tier]}", f"  {HELP.get(tier, '')}".rstrip()]
            elif tier == self.tier:
                lines += [f"{name} does not hold: {why}" for name, why in self.lacking[tier].items()]
        return "\n".join(lines)

    def json(self) -> str:
        """All of it, for programs."""
        tiers = {
            tier: {"available": False, "reason": self.refused[tier]}
            if tier in self.refused
            else {
                "available": True,
                "guarantees": sorted(set(GUARANTEES) - set(self.lacking[tier])),
                "lacking": dict(self.lacking[tier]),
            }
            for tier in TIERS
        }
        return json.dumps({"tier": self.tier, "tiers": tiers}, indent=2)

    def unmet(self, require: str | None = None) -> str:
        """What is required (by default by MLDEBUG_REQUIRE) and not given; empty when all is.

        Raises:
            UsageError: an unknown name.
        """
        above = {tier: self.refused.get(tier, "not tried") for tier in TIERS[: TIERS.index(self.tier)]}
        return unmet(required(require), self.tier, above | dict(self.lacking[self.tier]))


def doctor() -> Doctor:
    """Try every tier. About a second; nothing is imported into the jails, and nothing is left.

    Raises:
        UsageError: MLDEBUG_TIER names no tier.
        RunnerError: not even the weakest tier can be had.
    """
    from ..runner.worker import Worker, ZygoteLost

    first = highest_tier()
    refused: dict[str, str] = {}
    lacking: dict[str, Mapping[str, str]] = {}
    for tier in TIERS:
        found: dict[str, str] = {}
        worker = Worker(tier, found, only_try=True)
        try:
            worker.wait_ready()
        except ZygoteLost as lost:
            raise RunnerError(f"no run is possible here: {lost}") from None
        finally:
            worker.stop()
        if worker.tier == tier:
            lacking[tier] = {name: why for name, why in worker.lacking.items() if name in GUARANTEES}
        else:
            refused[tier] = found[tier]
    given = next(tier for tier in TIERS[TIERS.index(first) :] if tier in lacking)
    return Doctor(given, refused, lacking)
