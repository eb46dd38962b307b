"""What `mldebug list` and `mldebug explain` say, as values and as text."""

from __future__ import annotations

import textwrap
from typing import Any

from .clean_scripts.library import job_names, load_job
from .errors import UsageError
from .factory import hosts
from .mutators.base import COMPOUNDS, all_mutators, bug_classes, mutator


def bug_rows() -> list[dict[str, Any]]:
    """One row per atomic class and per named compound, from the registry."""
    rows: list[dict[str, Any]] = [
        {
            "bug": one.bug_class,
            "short": one.short,
            "manifestations": [manifestation.name for manifestation in one.manifestations],
            "explanation": one.explanation(),
        }
        for one in all_mutators()
    ]
    for name, atoms in COMPOUNDS.items():
        rows.append(
            {
                "bug": name,
                "short": ",".join(mutator(atom).short for atom in atoms),
                "manifestations": [],
                "explanation": f"{' and '.join(atoms)} in one script, each of which fails alone.",
            }
        )
    return rows


def script_rows() -> list[dict[str, Any]]:
    """One row per job of the library, with the classes it can host."""
    rows = []
    for name in job_names():
        spec = load_job(name)
        able = [mutator(bug).short for bug in bug_classes() if name in hosts((bug,))]
        rows.append(
            {
                "script": name,
                "modality": spec.modality,
                "files": list(spec.files),
                "metric": spec.metric.name,
                "hosts": able,
                "title": spec.title,
            }
        )
    return rows


def tool_rows() -> list[dict[str, Any]]:
    """One row per tool that an agent has, those of other packages among them."""
    from .env.tools.base import registered

    return [
        {
            "tool": one.name,
            "parameters": [f"{each.name}{'' if each.required else '?'}" for each in one.parameters],
            "tells": one.description,
        }
        for one in sorted(registered().values(), key=lambda tool: tool.name)
    ]


def explanation(records: dict[str, Any]) -> str:
    """The truth about a task for people: bugs, places, fix and evidence.

    Raises:
        UsageError: the records are not those of a task that this package wrote.
    """
    try:
        return _explanation(records)
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        raise UsageError(
            f"these are not the records of a task that `mldebug gen` wrote "
            f"({type(error).__name__}: {error}); generate the task again"
        ) from None


def _explanation(records: dict[str, Any]) -> str:
    task, truth, validation = records["task"], records["truth"], records["validation"]
    script = truth["script"] or f"{truth['source']['name']} (a script of somebody's own)"
    lines = [f"task {task['id']}: {script}, seed {truth['seed']}, index {truth['index']}", ""]
    lines += [f"alert    {task['alert'] or '(none: not verified)'}", f"device   {truth['device']}", ""]
    for one in truth["injections"]:
        kind = mutator(one["bug"])
        way = kind.manifestation(one["manifestation"])
        site = one["site"]
        lines += [
            f"{one['bug']}: {one['manifestation']} at {site['file']}:{site['line']} in {site['function']}",
            indented(way.summary),
            indented(kind.explanation()),
        ]
        if validation:
            finding = validation["findings"][one["bug"]]
            lines.append(indented(f"Seen when run with this bug alone: {finding['reason']}."))
            if "evidence" in finding["facts"]:
                lines.append(indented(f"Kind of evidence: {finding['facts']['evidence']}."))
        lines.append("")
    lines += ["fix (broken → reference):", "", records["patch"].rstrip("\n"), ""]
    if validation is not None and truth["script"] is None:
        original = validation["original"]
        runs = "one run" if validation["runs"] == 1 else f"{validation['runs']} runs"
        lines.append(
            f"proved by the trace of {runs} in {validation['seconds']} s beside the original's, whose "
            f"training loss ends at {float(original['final_loss']):.4g}"
            + ("" if original["repeatable"] else "; two runs of the original differ")
        )
    elif validation is not None:
        reference = validation["reference"]
        lines.append(
            f"proved by {validation['runs']} runs in {validation['seconds']} s; the reference's "
            f"{reference['metric']} is {reference['visible']:.4f} on the visible data and "
            f"{reference['hidden']:.4f} on hidden data"
        )
    elif task["alert"]:
        lines.append("proved when it was made; the record of those runs is not in this folder")
    else:
        lines.append("not verified: nothing was executed")
    return "\n".join(lines)


def indented(text: str) -> str:
    """A paragraph for the terminal."""
    return textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
