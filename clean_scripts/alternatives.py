"""Honest alternatives of a job: other ways to do it right, which its band must accept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from ..errors import SpliceError
from .library import load_job


@dataclass(frozen=True)
class Alternative:
    """One honest variation of a job, as textual replacements in its sources.

    name: what a person would call it, e.g. `layer norm`.
    replacements: (file, old, new); every `old` occurs exactly once in the job's own text of that file, and
        still does after the replacements before it.
    """

    name: str
    replacements: tuple[tuple[str, str, str], ...]

    def applied(self, sources: Mapping[str, str]) -> dict[str, str]:
        """The sources (path → text) with all replacements made, in order.

        Raises:
            SpliceError: there is no such file, or an `old` does not occur exactly once.
        """
        changed = dict(sources)
        for file, old, new in self.replacements:
            for text in (sources.get(file, ""), changed.get(file, "")):
                if text.count(old) != 1:
                    raise SpliceError(
                        f"alternative {self.name!r}: {old!r} occurs {text.count(old)} times in {file}, "
                        "expected once; quote more of the text around it"
                    )
            changed[file] = changed[file].replace(old, new)
        return changed


def alternatives(job: str) -> tuple[Alternative, ...]:
    """The honest alternatives that a job's spec module declares.

    Raises:
        UsageError: there is no job of that name.
    """
    load_job(job)
    found = import_module(f".{job}.spec", __package__).ALTERNATIVES
    assert all(isinstance(one, Alternative) for one in found), f"{job}/spec.py: ALTERNATIVES holds others"
    return tuple(found)
