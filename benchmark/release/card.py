"""What a release says of itself to people: the data card and the changelog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .difficulty import LEVELS
from .layout import ALERT_TOLERANCE, EFFECT_TOLERANCE, METRIC_TOLERANCE, Content, tasks_file
from .plan import SHARES, Split

_SPLITS = {
    "train": "to train agents on",
    "validation": "to choose between agents",
    "test": "to report: programs that are in no other part",
    "test_new_scripts": "to report: jobs that no other part uses",
    "private": "kept by the maintainers, to check what was reported",
}


def card(content: Content) -> str:
    """`README.md`: configurations that data-set readers understand, and the data card."""
    plan, counts = content.plan, content.counts()
    truth = {row["id"]: row["truth"] for row in content.solutions}
    level = {row["id"]: row["level"] for row in content.validations}
    rows: list[list[object]] = []
    for split in plan.splits:
        inside = [row["id"] for row in content.tasks if row["split"] == split]
        levels = Counter(level[id] for id in inside)
        scripts = len({truth[id]["script"] for id in inside})
        rows.append([f"`{split}`", len(inside), scripts, *(levels[one] for one in LEVELS), _SPLITS[split]])
    headers = ["split", "tasks", "scripts", *(f"level {one}" for one in LEVELS), "what it is for"]
    return "\n".join(
        [
            *_front_matter(content),
            f"# {plan.release}",
            "",
            f"{len(content.tasks)} broken PyTorch training jobs, each proved broken by running it, "
            "each with a "
            "fix that was proved too.",
            *([] if not plan.private else ["", "**This part is secret.** Publish nothing of it."]),
            "",
            f"Canary: `{plan.canary}`. It stands on every row.",
            "",
            "## What is in it",
            "",
            *_table(headers, rows),
            "",
            "Bug classes: " + _listed(counts["bugs"]) + ".",
            "",
            "Scripts: " + _listed(counts["scripts"]) + ".",
            "",
            "| file | for whom |",
            "| --- | --- |",
            "| `tasks/SPLIT.jsonl` | agents: the alert, the broken sources, the names of the tools |",
            "| `solutions.jsonl` | graders only: the truth, the correct sources, the seeds "
            "everything follows from |",
            "| `validation.jsonl` | people: what was executed, with which result and what margin; "
            "the level |",
            "| `manifest.json`, `SHA256SUMS` | `mldebug bench verify`: plan, versions, hashes |",
            "",
            "## How it was made",
            "",
            "Every byte of tasks and solutions follows from `plan` in `manifest.json`, and from the "
            "attempt that "
            "each solution names. Every task was executed: its reference passes, each of its bugs "
            "alone fails the "
            "way its class fails, and all bugs together do not behave like the reference.",
            "",
            *_selection(content),
            "",
            f"Splits: scripts that only `test_new_scripts` uses: {_names(plan.held_out)}. All others "
            "go by the hash "
            "of the broken program's normal form (names, literals, layout, dead code and the order "
            "of definitions "
            f"taken away), {', '.join(f'{share}% {split}' for split, share in SHARES)}; no normal "
            "form occurs twice.",
            "",
            *_levels(content),
            "",
            *_private(content),
            "## How to check it, and make it again",
            "",
            f"    mldebug bench verify {plan.release}",
            f"    mldebug materialize {plan.release}/{tasks_file(_filled(content)[0])} --out tasks",
            "",
            "The first makes every task again from its seeds, compares all bytes, executes every "
            "task and compares "
            "what comes of it. What was measured may differ on another processor: metrics by "
            f"{METRIC_TOLERANCE}, "
            f"effects by {EFFECT_TOLERANCE:.0%}, figures in alerts by {ALERT_TOLERANCE:.0%}; outcomes "
            "may not.",
            "",
            "Made by: " + ", ".join(f"{name} {one}" for name, one in sorted(content.versions.items())) + ".",
            "",
            "## Limits",
            "",
            "Jobs are small and synthetic, so that hundreds can be proved in minutes. A task has one "
            "reference, "
            "which need not be the only good fix: fixes are judged by what the job does. The alert "
            "tells a crash "
            "from a silent failure. No personal data: all data is made from integers. Licence: MIT.",
            "",
            "A release is never changed. Withdrawn tasks and other corrections become a new version; see "
            "`CHANGELOG.md`.",
            "",
        ]
    )


def _front_matter(content: Content) -> Sequence[str]:
    lines = ["---", "license: mit", "pretty_name: mldebug " + content.plan.release]
    lines += ["tags: [pytorch, debugging, code, benchmark]", "configs:"]
    lines += ["  - config_name: tasks", "    default: true", "    data_files:"]
    for split in _filled(content):
        lines += [f"      - split: {split}", f"        path: {tasks_file(split)}"]
    for name in ("solutions", "validation"):
        lines += [f"  - config_name: {name}", f"    data_files: {name}.jsonl"]
    return [*lines, "---", ""]


def _filled(content: Content) -> Sequence[Split]:
    return [one for one in content.plan.splits if any(row["split"] == one for row in content.tasks)]


def _selection(content: Content) -> Sequence[str]:
    counts = content.counts()
    discarded = sum(counts["discarded_candidates"].values())
    text = (
        f"{len(content.tasks) + discarded} candidates were executed or composed for "
        f"{len(content.tasks)} tasks; "
        f"{discarded} were discarded"
    )
    if discarded:
        text += f" ({_listed(counts['discarded_candidates'])})"
    same = sum("same_form_as" in row for row in content.skipped)
    withdrawn = sum("withdrawn" in row for row in content.skipped)
    return [
        f"{text}. {same} were left out because their program is another task's already, and "
        f"{withdrawn} because "
        "they were withdrawn."
    ]


def _levels(content: Content) -> Sequence[str]:
    rated = content.counts()["rated_by_agents"]
    by_agents = (
        "how agents fared (1 all solved it, 2 at least half, 3 some, 4 none but one completed "
        "training with the "
        "right classes, 5 none came so far)"
    )
    by_traits = (
        "what was measured of the task (1, and one more for each of: nothing crashes, nothing shows "
        "at all, each "
        "further bug, a crash far from its cause, a long fix, code that looks wrong and is right)"
    )
    if not rated:
        return [f"Levels follow from {by_traits}. No agent has tried them yet."]
    agents = sorted({name for row in content.validations for name in row["agents"]})
    text = f"Levels of {rated} tasks follow from {by_agents}; agents: {_names(agents)}."
    if more := len(content.tasks) - rated:
        text += f" Those of the other {more} follow from {by_traits}."
    return [text]


def _private(content: Content) -> Sequence[str]:
    if content.private is None:
        return []
    return [
        f"There is a secret part, `{content.private['release']}`, of {content.private['tasks']} tasks "
        "from a secret "
        "seed. This release is committed to it: the SHA-256 of its `solutions.jsonl` is "
        f"`{content.private['solutions_sha256']}`. Once it is shown, `mldebug bench verify --private` "
        "checks it.",
        "",
    ]


def changelog(content: Content) -> str:
    """`CHANGELOG.md`: this release, and below it those before."""
    plan = content.plan
    lines = ["# Changelog", "", *_canary_line(plan.canary), "", f"## {plan.release}, {plan.date}", ""]
    lines += [plan.notes or "No notes.", "", "Withdrawn tasks: " + _names(plan.withdrawn) + "."]
    older = content.older.strip()
    return "\n".join(lines) + "\n" + (f"\n{older}\n" if older else "")


def _canary_line(canary: str) -> Sequence[str]:
    return [f"<!-- {canary} -->"]


def sections(text: str) -> str:
    """The sections of a changelog, without its title: what the next release's goes on with."""
    place = text.find("\n## ")
    return text[place + 1 :].strip() if place >= 0 else ""


def _names(found: Sequence[str]) -> str:
    return ", ".join(f"`{one}`" for one in found) or "none"


def _listed(counts: Mapping[str, Any]) -> str:
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{name} {count}" for name, count in ordered) or "none"


def _table(headers: Sequence[object], rows: Sequence[Sequence[object]]) -> Sequence[str]:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (headers, *rows)]
    return [lines[0], "|" + " --- |" * len(headers), *lines[1:]]
