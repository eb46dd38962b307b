"""The files of a release, as bytes: everything but what was measured follows from its rows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...output.release_rows import SOLUTIONS
from ...task_folder import SCHEMA, canonical_json
from .difficulty import LEVELS
from .plan import Plan, Split
from .rows import Row

TASKS = "tasks"
VALIDATION = "validation.jsonl"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
README = "README.md"
CHANGELOG = "CHANGELOG.md"

METRIC_TOLERANCE = 0.02
"""By how much a metric may differ when it is measured again on another processor: twice what another random
seed changes in an honest job (0.011, docs/architecture.md). On the same machine it is bit-identical."""

EFFECT_TOLERANCE = 0.25
"""By how much, as a share, the effect of a bug may differ; it has to stay above its floor besides."""

ALERT_TOLERANCE = 0.10
"""By how much, as a share, a figure of an alert may differ: its two digits round by up to a twentieth."""

TOLERANCES = {"metric": METRIC_TOLERANCE, "effect": EFFECT_TOLERANCE, "alert": ALERT_TOLERANCE}


def tasks_file(split: Split) -> str:
    return f"{TASKS}/{split}.jsonl"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Canonical JSON, one object a line, sorted by id: an order that says nothing of the tasks."""
    ordered = sorted(rows, key=lambda row: str(row["id"]))
    return b"".join(json_line(row) + b"\n" for row in ordered)


def json_line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


@dataclass(frozen=True)
class Content:
    """What a release holds.

    tasks, solutions, validations: rows, in any order. skipped: requests that gave no task, with reasons.
    versions: of what made it. private: the commitment to the part that stays secret. older: the changelog of
    the release before this.
    """

    plan: Plan
    tasks: Sequence[Row]
    solutions: Sequence[Row]
    validations: Sequence[Row]
    skipped: Sequence[Row]
    versions: Mapping[str, str]
    private: Mapping[str, Any] | None = None
    older: str = ""

    def row_files(self) -> dict[str, bytes]:
        """The files of rows: path → content."""
        found = {
            tasks_file(split): json_lines(row for row in self.tasks if row["split"] == split)
            for split in self.plan.splits
        }
        return found | {SOLUTIONS: json_lines(self.solutions), VALIDATION: json_lines(self.validations)}

    def counts(self) -> dict[str, Any]:
        """How many tasks there are of every kind, and how many candidates were tried for them."""
        split_of = {row["id"]: row["split"] for row in self.tasks}
        truths = [row["truth"] for row in self.solutions]
        levels = Counter(row["level"] for row in self.validations)
        discarded: Counter[str] = Counter()
        for row in self.validations:
            discarded.update(reason.split(":")[0] for reason in row["discarded"])
        for row in self.skipped:
            discarded.update(row.get("reasons", {}))
        return {
            "tasks": len(self.tasks),
            "splits": {split: sum(s == split for s in split_of.values()) for split in self.plan.splits},
            "bugs": dict(Counter("+".join(one["bugs"]) for one in truths)),
            "scripts": dict(Counter(one["script"] for one in truths)),
            "levels": {str(level): levels[level] for level in LEVELS},
            "rated_by_agents": sum(bool(row["agents"]) for row in self.validations),
            "discarded_candidates": dict(discarded),
        }

    def manifest(self, hashes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """`manifest.json`; hashes: path → `sha256` and `bytes` of every file but itself and `SHA256SUMS`."""
        counts = self.counts()
        rated = counts["rated_by_agents"]
        rule = "traits" if not rated else "agents" if rated == counts["tasks"] else "agents, else traits"
        manifest = {
            "schema": SCHEMA,
            "release": self.plan.release,
            "canary": self.plan.canary,
            "plan": self.plan.record(),
            "versions": dict(self.versions),
            "counts": counts,
            "levels_follow_from": rule,
            "skipped": list(self.skipped),
            "tolerances": TOLERANCES,
            "private": None if self.private is None else dict(self.private),
            "files": {name: dict(one) for name, one in sorted(hashes.items())},
        }
        return manifest | {"root": root_of(manifest)}

    def files(self) -> dict[str, bytes]:
        """All of them: path → content."""
        from .card import card, changelog

        found = self.row_files()
        found |= {README: card(self).encode(), CHANGELOG: changelog(self).encode()}
        hashes = {name: hashed(content) for name, content in found.items()}
        found[MANIFEST] = canonical_json(self.manifest(hashes)).encode()
        found[SUMS] = sums({name: sha256(content) for name, content in found.items()})
        return found


def hashed(content: bytes) -> dict[str, Any]:
    return {"sha256": sha256(content), "bytes": len(content)}


def root_of(manifest: Mapping[str, Any]) -> str:
    """One hash for a release: of its manifest, which holds those of the other files."""
    return sha256(canonical_json({name: one for name, one in manifest.items() if name != "root"}).encode())


def sums(hashes: Mapping[str, str]) -> bytes:
    """`SHA256SUMS`, as `sha256sum -c` reads it."""
    return "".join(f"{one}  {name}\n" for name, one in sorted(hashes.items())).encode()


def commitment(content: Content) -> dict[str, Any]:
    """What a release says of its secret part: nothing, until somebody shows it. The solutions hold all that
    the tasks follow from, and nothing that was measured: from the same secret they come out the same."""
    return {
        "release": content.plan.release,
        "tasks": len(content.tasks),
        "solutions_sha256": sha256(content.row_files()[SOLUTIONS]),
    }
