"""What a report says in a terminal and to programs, and how texts of others are shown."""

from __future__ import annotations

from typing import Any

from .figures import CONFIDENCE, RESAMPLES, SEED, HeatRow, Interval, Standing, heat, leaderboard, rungs
from .reading import Runs

HEADERS = ("agent", "tasks", "solved", "95% interval", "score", "95% interval", "steps", "s")
METHOD = (
    f"Intervals: {CONFIDENCE:.0%}, percentile bootstrap of the mean over tasks ({RESAMPLES:,} resamples, "
    f"seed {SEED}). They say how much the choice of tasks matters, not how an agent varies on the same task."
)

_UNSEEN = (
    *(code for code in range(0x20) if chr(code) not in "\n\t"),
    *range(0x7F, 0xA0),  # controls
    *(0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),  # line ends, directions
    *range(0xD800, 0xE000),  # halves of characters
)
_SEEN = {code: f"\u27e8U+{code:04X}\u27e9" for code in _UNSEEN}


def shown(text: str) -> str:
    """A text of others, with what would move a cursor, turn lines around or be no character made visible."""
    return text.translate(_SEEN)


def in_a_line(text: str) -> str:
    """The same, of a text that has to stay within one line of a table."""
    return shown(text).replace("\n", "\u27e8U+000A\u27e9").replace("\t", "\u27e8U+0009\u27e9")


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def span(of: Interval, *, share: bool) -> str:
    """The ends of an interval."""
    if share:
        return f"{100 * of.low:.0f}–{percent(of.high)}"
    return f"{of.low:.3f}–{of.high:.3f}"


def standing_cells(one: Standing) -> list[str]:
    """Of `HEADERS`."""
    return [
        in_a_line(one.who),
        str(one.tasks),
        percent(one.solved.mean),
        span(one.solved, share=True),
        f"{one.score.mean:.3f}",
        span(one.score, share=False),
        f"{one.steps:.1f}",
        "-" if one.seconds is None else f"{one.seconds:.1f}",
    ]


def heat_cells(row: HeatRow, agents: list[str]) -> list[str]:
    return [in_a_line(row.label), *(rate(*row.cells.get(who, (0, 0))) for who in agents)]


def rate(solved: int, tasks: int) -> str:
    return f"{percent(solved / tasks)} ({solved}/{tasks})" if tasks else "-"


def terminal(runs: Runs) -> str:
    """Leaderboard, classes × agents, and how the intervals came about."""
    from tabulate import tabulate

    board = leaderboard(runs.outcomes)
    agents = [one.who for one in board]
    parts = [
        tabulate([standing_cells(one) for one in board], headers=HEADERS, disable_numparse=True),
        tabulate(
            [heat_cells(row, agents) for row in heat(runs.outcomes)],
            headers=["solved, by class", *map(in_a_line, agents)],
            disable_numparse=True,
        ),
        "\n".join([METHOD, *runs.cautions()]),
    ]
    return "\n\n".join(parts)


def for_programs(runs: Runs) -> dict[str, Any]:
    """The same, as JSON holds it."""
    return {
        "agents": [one.record() for one in leaderboard(runs.outcomes)],
        "bootstrap": {
            "confidence": CONFIDENCE,
            "method": "percentile",
            "resamples": RESAMPLES,
            "seed": SEED,
            "over": "tasks",
        },
        "cautions": runs.cautions(),
        "classes": [row.record() for row in heat(runs.outcomes)],
        "rungs": {
            who: {f"{rung:.2f}": count for rung, count in counts.items()}
            for who, counts in rungs(runs.outcomes).items()
        },
        "runs": [{"name": one.name, "run": one.mark} for one in runs.runs],
    }
