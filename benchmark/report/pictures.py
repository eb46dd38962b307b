"""The plots of a report as PNG files, for papers. matplotlib is imported here and nowhere else."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...grader.ruling import SOLVED
from .figures import heat, leaderboard, rungs
from .reading import Runs
from .texts import in_a_line, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, GREEN, INK = "#3b6fb6", "#2a8a57", "#22262e"
DOTS_PER_INCH = 200
WIDTH = 7.0
"""Inches: a page's text width."""


def require_matplotlib() -> None:
    """Raises:
    UsageError: it is not there.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("--png: needs matplotlib; pip install 'mldebug[report]'")


def pictures(runs: Runs) -> dict[str, bytes]:
    """File name → PNG. The same outcomes give the same bytes with the same matplotlib: no date, no version
    and none of the user's settings gets in."""
    with _settings():
        drawn: dict[str, Callable[[Runs], Figure]] = {
            "leaderboard.png": _leaderboard,
            "rungs.png": _rungs,
            "heat_map.png": _heat_map,
        }
        return {name: _png(draw(runs)) for name, draw in drawn.items()}


@contextmanager
def _settings() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.size": 9,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "text.parse_math": False,  # a name with dollars is a name
                "text.color": INK,
                "axes.labelcolor": INK,
                "xtick.color": INK,
                "ytick.color": INK,
            }
        )
        yield


def _png(figure: Figure) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return target.getvalue()


def _figure(height: float, **grid: Any) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(**grid)


def _leaderboard(runs: Runs) -> Figure:
    board = leaderboard(runs.outcomes)[::-1]
    figure, axes = _figure(0.9 + 0.32 * len(board), ncols=2, sharey=True)
    names = [in_a_line(one.who) for one in board]
    for axis, of, color, title in (
        (axes[0], [one.solved for one in board], GREEN, "solved, share of tasks"),
        (axes[1], [one.score for one in board], BLUE, "mean score"),
    ):
        means = [one.mean for one in of]
        around = [[one.mean - one.low for one in of], [one.high - one.mean for one in of]]
        axis.barh(names, means, xerr=around, color=color, height=0.62, ecolor=INK, capsize=3)
        axis.set_xlim(0, max(1.0, *(1.05 * one.high for one in of)))
        axis.set_xlabel(f"{title} (95% bootstrap interval)")
    return figure


def _rungs(runs: Runs) -> Figure:
    counted = rungs(runs.outcomes)
    order = [one.who for one in leaderboard(runs.outcomes)]
    columns = min(3, len(order))
    rows = -(-len(order) // columns)
    figure, axes = _figure(0.4 + 1.7 * rows, ncols=columns, nrows=rows, squeeze=False, sharey=True)
    spare = [axis for line in axes for axis in line]
    for who in order:
        axis, counts = spare.pop(0), counted[who]
        labels = [f"{rung:.2f}" for rung in counts]
        bars = axis.bar(
            labels, list(counts.values()), color=[GREEN if rung == SOLVED else BLUE for rung in counts]
        )
        axis.bar_label(bars, [str(n) if n else "" for n in counts.values()], fontsize=7)
        axis.set_title(in_a_line(who), fontsize=9)
        axis.tick_params(axis="x", labelsize=7)
        axis.margins(y=0.15)
    for axis in spare:
        axis.set_axis_off()
    figure.supxlabel("best rung of an episode", fontsize=9)
    figure.supylabel("episodes", fontsize=9)
    return figure


def _heat_map(runs: Runs) -> Figure:
    rows = heat(runs.outcomes)
    agents = [one.who for one in leaderboard(runs.outcomes)]
    figure, axis = _figure(1.3 + 0.26 * len(rows))
    shares = [[_share(*row.cells.get(who, (0, 0))) for who in agents] for row in rows]
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks([x - 0.5 for x in range(1, len(agents))], minor=True)
    axis.set_yticks([y - 0.5 for y in range(1, len(rows))], minor=True)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.spines[["left", "bottom"]].set_visible(False)
    for y, line in enumerate(shares):
        for x, share in enumerate(line):
            if share == share:
                axis.text(
                    x, y, percent(share), ha="center", va="center", color="white" if share > 0.6 else INK
                )
    axis.set_xticks(range(len(agents)), [in_a_line(one) for one in agents], rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), [in_a_line(row.label) for row in rows])
    axis.tick_params(which="both", length=0)
    return figure


def _share(solved: int, tasks: int) -> float:
    return solved / tasks if tasks else float("nan")
