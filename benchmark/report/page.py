"""A report as one page that needs nothing but itself.

What agents and jobs wrote is hostile: here it goes through `text` (markup) or `data` (JSON in a block that is
no script), and the page's own script puts it into text nodes only. A Content-Security-Policy allows the two
inline blocks that this module wrote, by their hashes, and nothing else: no other script, no style attribute,
no request.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from ...grader.ruling import SOLVED
from .figures import (
    END,
    START,
    Flow,
    Interval,
    Standing,
    classes,
    flow,
    heat,
    leaderboard,
    rungs,
)
from .reading import Outcome, Runs
from .texts import METHOD, in_a_line, percent, rate, span
from .trajectories import LIMIT, Packed, pack

TITLE = "mldebug: report of a benchmark run"
SHADES = 10
"""Steps of a heat map's scale; `page.css` has a rule for each."""


def page(runs: Runs, limit: int = LIMIT) -> str:
    """The page, all ASCII, the same for the same folders.

    Args:
        limit: characters of packed trajectories; what is left out is said.

    Raises:
        UsageError: a trajectory is missing or broken.
    """
    packed = pack(runs.outcomes, limit)
    style, script = _part("page.css"), _part("page.js")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    agents = [one.who for one in leaderboard(runs.outcomes)]
    found = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">',
        f"<title>{TITLE}</title><style>{style}</style></head><body>",
        _head(runs, agents),
        _filters(runs, agents),
        "<main>",
        _panels(runs, agents, packed),
        _heat_map(runs, agents),
        _trajectories(packed),
        _method(runs),
        "</main>",
        f'<script type="application/json" id="data">{data(_index(runs, agents, packed))}</script>',
        f'<script type="application/json" id="packed">{data(packed.chunks)}</script>',
        f"<script>{script}</script></body></html>",
        "",
    ]
    return "\n".join(found).encode("ascii", "xmlcharrefreplace").decode("ascii")


def text(of: str) -> str:
    """A text as markup that shows it."""
    return html.escape(in_a_line(of))


def label(of: str) -> str:
    """A name as markup that a narrow table can break where words meet."""
    return text(of).replace("_", "_<wbr>")


def data(value: Any) -> str:
    """JSON that can stand in a block of a page: without `<`, `>`, `&` and anything beyond ASCII."""
    found = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return found.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _part(name: str) -> str:
    found = files(__package__).joinpath(name).read_text("ascii").strip()
    if "</" in found or "<!--" in found:
        raise AssertionError(f"{name} would end its own block")
    return found


def _digest(of: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(of.encode("ascii")).digest()).decode("ascii")


def _head(runs: Runs, agents: Sequence[str]) -> str:
    tasks = len({one.task for one in runs.outcomes})
    names = ", ".join(text(one.name) for one in runs.runs)
    warned = "".join(f'<p class="caution">{text(one)}</p>' for one in runs.cautions())
    return (
        f'<a class="skip" href="#trajectories">Skip to the trajectories</a>'
        f"<header><h1>Benchmark report</h1><p>{names} · {_many(tasks, 'task')} · "
        f"{_many(len(agents), 'agent')} · {_many(len(runs.outcomes), 'episode')}</p>{warned}"
        "<noscript><p>Without JavaScript the page shows all figures; filters and trajectories need it.</p>"
        "</noscript></header>"
    )


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _filters(runs: Runs, agents: Sequence[str]) -> str:
    who = _options(["All agents", *agents])
    what = _options(["All classes", *classes(runs.outcomes)])
    return (
        '<form class="filters" id="filters" aria-label="Filter">'
        f'<label for="agent">Agent <select id="agent">{who}</select></label>'
        f'<label for="class">Bug class <select id="class">{what}</select></label></form>'
    )


def _options(names: Iterable[str]) -> str:
    return "".join(f'<option value="{n - 1}">{text(name)}</option>' for n, name in enumerate(names))


def _panels(runs: Runs, agents: Sequence[str], packed: Packed) -> str:
    """Leaderboard, rungs and flow: of all tasks, and of those with each class."""
    scale = max(1.0, *(one.score.high for one in leaderboard(runs.outcomes)))
    pairs = list(zip(runs.outcomes, packed.actions, strict=True))
    found = []
    for number, bug in [(-1, None), *enumerate(classes(runs.outcomes))]:
        chosen = [one for one in pairs if bug is None or bug in one[0].bugs]
        of = "" if bug is None else f" · tasks with {text(bug)}"
        outcomes = [one for one, _ in chosen]
        found.append(
            f'<div class="panel" data-class="{number}"{" hidden" if number >= 0 else ""}>'
            f"<section><h2>Leaderboard{of}</h2>{_board(outcomes, agents, scale)}</section>"
            f'<section><h2>Best rung of an episode{of}</h2><div class="grid">'
            f"{_histograms(outcomes, agents)}</div></section>"
            f"<section><h2>What follows what{of}</h2>{_flows(chosen, agents, number)}</section></div>"
        )
    return "\n".join(found)


def _board(outcomes: Sequence[Outcome], agents: Sequence[str], scale: float) -> str:
    board = leaderboard(outcomes)
    scale = max(scale, *(one.score.high for one in board))
    rows = "".join(_board_row(one, agents.index(one.who), scale) for one in board)
    return _box(
        "Leaderboard",
        '<table class="board"><thead><tr><th scope="col">Agent</th><th scope="col" class="tasks">Tasks</th>'
        '<th scope="col" class="wide">Solved</th><th scope="col">95% interval</th>'
        '<th scope="col" class="wide">Score</th><th scope="col">95% interval</th>'
        '<th scope="col">Steps</th><th scope="col">Seconds</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>",
    ) + (
        f'<p class="small">Bars: means; whiskers: 95% bootstrap intervals over tasks. Solved from 0 to 100%, '
        f"score from 0 to {scale:.2f}.</p>"
    )


def _board_row(one: Standing, agent: int, scale: float) -> str:
    seconds = "–" if one.seconds is None else f"{one.seconds:.1f}"
    return (
        f'<tr data-agent="{agent}"><th scope="row">{label(one.who)}</th><td class="tasks">{one.tasks}</td>'
        f'<td class="wide"><b>{percent(one.solved.mean)}</b>{_bar(one.solved, 1.0, "solved")}</td>'
        f"<td>{span(one.solved, share=True)}</td>"
        f'<td class="wide"><b>{one.score.mean:.3f}</b>{_bar(one.score, scale, "score")}</td>'
        f"<td>{span(one.score, share=False)}</td>"
        f"<td>{one.steps:.1f}</td><td>{seconds}</td></tr>"
    )


BAR = 150
"""Units of a bar's full length."""


def _bar(of: Interval, scale: float, kind: str) -> str:
    """A bar with whiskers. The figures stand beside it, so it is hidden from screen readers."""
    mean, low, high = (round(BAR * value / scale, 1) + 4 for value in (of.mean, of.low, of.high))
    return (
        f'<svg class="bar" width="{BAR + 8}" height="20" viewBox="0 0 {BAR + 8} 20" aria-hidden="true">'
        f'<rect class="track" x="4" y="4" width="{BAR}" height="12" rx="2"/>'
        f'<rect class="{kind}" x="4" y="4" width="{mean - 4:.1f}" height="12" rx="2"/>'
        f'<path class="whisker" d="M{low:.1f} 10H{high:.1f}M{low:.1f} 5V15M{high:.1f} 5V15"/></svg>'
    )


def _histograms(outcomes: Sequence[Outcome], agents: Sequence[str]) -> str:
    counted = rungs(outcomes)
    return "".join(
        f'<figure data-agent="{number}"><figcaption>{text(who)}</figcaption>'
        f"{_histogram(counted[who])}</figure>"
        for number, who in enumerate(agents)
        if who in counted
    )


def _histogram(counts: dict[float, int]) -> str:
    most, step = max(counts.values()), 40
    said = ", ".join(f"rung {rung:.2f}: {count}" for rung, count in counts.items() if count)
    parts = []
    for place, (rung, count) in enumerate(counts.items()):
        x, height = 4 + step * place, round(86 * count / most, 1)
        kind = "solved" if rung == SOLVED else "score"
        parts.append(
            f'<rect class="{kind}" x="{x}" y="{104 - height:.1f}" width="32" height="{height}" rx="2"/>'
            f'<text x="{x + 16}" y="{99 - height:.1f}">{count or ""}</text>'
            f'<text class="axis" x="{x + 16}" y="120">{rung:.2f}</text>'
        )
    width = step * len(counts) + 4
    return (
        f'<svg class="histogram" viewBox="0 0 {width} 126" role="img" aria-label="{said}">'
        f'<path class="base" d="M0 104.5H{width}"/>{"".join(parts)}</svg>'
    )


def _flows(chosen: Sequence[tuple[Outcome, Sequence[str]]], agents: Sequence[str], panel: int) -> str:
    found = []
    for number, who in enumerate(agents):
        paths = [actions for one, actions in chosen if one.who == who]
        if paths:
            found.append(_flow(who, number, flow(paths), is_open=number == 0 and panel < 0))
    return (
        '<p class="small">How often the action of a column came right after that of its row. The darker, the '
        "larger its share of the row.</p>" + "".join(found)
    )


def _flow(who: str, number: int, of: Flow, *, is_open: bool) -> str:
    rows, columns = (START, *of.names), (*of.names, END)
    top = ", ".join(f"{text(before)} → {text(after)} ({count})" for before, after, count in of.top)
    heads = "".join(f'<th scope="col"><span>{text(name)}</span></th>' for name in columns)
    lines = []
    for before in rows:
        total = sum(of.counts.get((before, after), 0) for after in columns)
        cells = "".join(_count(of.counts.get((before, after), 0), total) for after in columns)
        lines.append(f'<tr><th scope="row">{text(before)}</th>{cells}</tr>')
    table = (
        '<table class="flow"><thead><tr><th scope="col" class="corner">then → / ↓ first</th>'
        f"{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )
    return (
        f'<details data-agent="{number}"{" open" if is_open else ""}><summary><b>{text(who)}</b> '
        f'<span class="small">most often: {top}</span></summary>{_box(f"Flow of {who}", table)}</details>'
    )


def _count(count: int, total: int) -> str:
    return f'<td class="s{_shade(count / total)}">{count}</td>' if count else "<td></td>"


def _shade(share: float) -> int:
    return round(SHADES * share)


def _heat_map(runs: Runs, agents: Sequence[str]) -> str:
    known = classes(runs.outcomes)
    heads = "".join(
        f'<th scope="col" data-agent="{number}">{text(who)}</th>' for number, who in enumerate(agents)
    )
    lines = []
    for row in heat(runs.outcomes):
        cells = []
        for number, who in enumerate(agents):
            solved, tasks = row.cells.get(who, (0, 0))
            shade = f' class="s{_shade(solved / tasks)}"' if tasks else ""
            cells.append(f'<td data-agent="{number}"{shade}>{rate(solved, tasks)}</td>')
        has = " ".join(str(known.index(bug)) for bug in row.bugs)
        kind = "" if row.exact else ' class="any"'
        lines.append(
            f'<tr data-classes="{has}"{kind}><th scope="row">{label(row.label)}</th>{"".join(cells)}</tr>'
        )
    table = (
        f'<table class="heat"><thead><tr><th scope="col">Classes</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
    return f"<section><h2>Solved, class by class</h2>{_box('Solved, class by class', table)}</section>"


def _trajectories(packed: Packed) -> str:
    total = len(packed.places)
    left = ""
    if packed.left_out:
        left = (
            f'<p class="caution">This page holds the trajectories of {total - packed.left_out:,} of '
            f"{total:,} episodes; those of the last {packed.left_out:,} would make it too large and lie in "
            "the run's folder only (trajectories/AGENT/TASK.jsonl).</p>"
        )
    return (
        f'<section id="trajectories"><h2>Trajectories</h2>{left}'
        '<p id="found" class="small" role="status"></p>'
        '<div class="box episodes" role="region" aria-label="Episodes" tabindex="0"><table><thead><tr>'
        '<th scope="col">Task</th><th scope="col">Agent</th><th scope="col">Classes</th>'
        '<th scope="col">Script</th><th scope="col">Rung</th><th scope="col">Score</th>'
        '<th scope="col">Steps</th></tr></thead><tbody id="episodes"></tbody></table></div>'
        '<article id="trajectory" aria-labelledby="opened" tabindex="-1" hidden></article></section>'
    )


def _method(runs: Runs) -> str:
    rows = []
    for one in runs.runs:
        rules = one.mark["rules"]
        versions = one.mark.get("versions")
        made = ", ".join(
            f"{text(str(name))} {text(str(value))}"
            for name, value in sorted(versions.items() if isinstance(versions, dict) else ())
        )
        settings = {name: value for name, value in sorted(one.mark["agents"].items()) if value}
        rows.append(
            f'<tr><th scope="row">{text(one.name)}</th><td>{text(str(one.mark["tasks"]["count"]))}</td>'
            f"<td>{text(str(one.mark.get('seed')))}</td><td>{text(str(rules['budget']))}</td>"
            f'<td>{"0.60" if rules.get("strict_seed_scoring") else "0.20"}</td><td class="long">{made}</td>'
            f'<td class="long">{text(json.dumps(settings, sort_keys=True)) if settings else "–"}</td></tr>'
        )
    table = (
        '<table class="runs"><thead><tr><th scope="col">Run</th><th scope="col">Tasks</th>'
        '<th scope="col">Seed</th><th scope="col">Budget</th><th scope="col">Rung of the unchanged job</th>'
        '<th scope="col" class="long">Versions</th><th scope="col" class="long">Settings of agents</th>'
        "</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return (
        f"<section><h2>How this was counted</h2><p>{text(METHOD)} Where every task of an agent has the same "
        "value, the interval has no width: it cannot tell what tasks that are not there would have given.</p>"
        f"<p>A task with several bugs counts for each of its classes. Seconds are wall time, graded "
        f"fixes included.</p>{_box('Runs', table)}</section>"
    )


def _box(name: str, table: str) -> str:
    """A table that scrolls within its own box, by keyboard too."""
    return f'<div class="box" role="region" aria-label="{text(name)}" tabindex="0">{table}</div>'


def _index(runs: Runs, agents: Sequence[str], packed: Packed) -> dict[str, Any]:
    """What the script knows of the episodes without unpacking anything."""
    known = classes(runs.outcomes)
    number = {who: place for place, who in enumerate(agents)}
    return {
        "agents": [in_a_line(one) for one in agents],
        "classes": [in_a_line(one) for one in known],
        "episodes": [
            [
                number[one.who],
                one.task,
                [known.index(bug) for bug in one.bugs],
                in_a_line(one.script),
                f"{one.rung:.2f}",
                f"{one.score:.3f}",
                one.steps,
                one.solved,
                list(place) if place else None,
            ]
            for one, place in zip(runs.outcomes, packed.places, strict=True)
        ],
    }
