"""What a run says, agent by agent and class by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

ALL = "all"


def summary(
    results: Iterable[Mapping[str, Any]], times: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """One record for each agent and set of classes, and one for each agent with `bugs` = "all".

    score, rung, steps, fixes: means. solved: share. uses: name of a tool, or `fix` → mean number an episode.
    rungs: the best rung of an episode → how many. seconds: mean, of those whose time is known. requests,
    tokens, dollars: sums; None for agents that ask no model.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in results:
        groups.setdefault((one["agent"], ALL), []).append(one)
        groups.setdefault((one["agent"], ",".join(one["bugs"])), []).append(one)
    seconds = {(one["agent"], one["task"]): one["seconds"] for one in times}
    return [
        _summed(agent, bugs, groups[agent, bugs], seconds)
        for agent, bugs in sorted(groups, key=lambda key: (key[0], key[1] == ALL, key[1].count(","), key[1]))
    ]


def use_of(action: Any) -> str:
    """Under which name an action counts in `uses`: its tool, `fix`, or `none`. Whatever an agent wrote has
    one."""
    kind = action.get("type") if isinstance(action, Mapping) else None
    if kind != "inspect":
        return "fix" if kind == "fix" else "none"
    tool = str(action.get("tool"))[:60]
    return "fix" if tool == "submit" else tool


def _summed(
    agent: str, bugs: str, episodes: Sequence[Mapping[str, Any]], seconds: Mapping[tuple[str, str], float]
) -> dict[str, Any]:
    uses: Counter[str] = Counter()
    for one in episodes:
        uses.update(one["uses"])
    known = [seconds[key] for one in episodes if (key := (agent, one["task"])) in seconds]
    usages = [one["usage"] for one in episodes if one.get("usage")]
    return {
        "agent": agent,
        "bugs": bugs,
        "tasks": len(episodes),
        "solved": fmean(one["solved"] for one in episodes),
        "score": fmean(one["score"] for one in episodes),
        "best_score": max(one["score"] for one in episodes),
        "rung": fmean(one["rung"] for one in episodes),
        "rungs": {f"{rung:.2f}": n for rung, n in sorted(Counter(one["rung"] for one in episodes).items())},
        "steps": fmean(one["steps"] for one in episodes),
        "fixes": fmean(len(one["rungs"]) for one in episodes),
        "refused": fmean(one["refused"] for one in episodes),
        "uses": {name: count / len(episodes) for name, count in uses.most_common()},
        "seconds": fmean(known) if known else None,
        "requests": sum(one["requests"] for one in usages) if usages else None,
        "tokens": sum(one["prompt_tokens"] + one["completion_tokens"] for one in usages) if usages else None,
        "dollars": sum(one["dollars"] for one in usages) if usages else None,
    }


HEADERS = (
    "agent",
    "classes",
    "tasks",
    "solved",
    "score",
    "rung",
    "rungs",
    "steps",
    "fixes",
    "tools an episode",
    "tokens",
    "$",
    "s",
)
TOOLS_SHOWN = 3


def rows_of(records: Iterable[Mapping[str, Any]]) -> list[list[object]]:
    """The summary as rows for a table of `HEADERS`."""
    found: list[list[object]] = []
    for one in records:
        tools = [(name, count) for name, count in one["uses"].items() if name != "fix"]
        found.append(
            [
                one["agent"],
                one["bugs"],
                one["tasks"],
                f"{100 * one['solved']:.0f}%",
                f"{one['score']:.3f}",
                f"{one['rung']:.2f}",
                " ".join(f"{rung}×{count}" for rung, count in one["rungs"].items()),
                f"{one['steps']:.1f}",
                f"{one['fixes']:.1f}",
                ", ".join(f"{name} {count:.1f}" for name, count in tools[:TOOLS_SHOWN]) or "-",
                "-" if one["tokens"] is None else f"{one['tokens']:,}",
                "-" if not one["dollars"] else f"{one['dollars']:.4f}",
                "-" if one["seconds"] is None else f"{one['seconds']:.1f}",
            ]
        )
    return found
