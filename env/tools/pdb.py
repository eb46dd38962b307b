"""`pdb`: a debugger session of the job.

A session is *replayed*. Jobs are deterministic, so each use runs the job under pdb from its first line, with
all commands of the session so far and the new ones as input, and returns what the new ones print. Nothing
lives between two steps: no process can be left over, and an abandoned session costs nothing. A command that
kills its run, or never ends, is forgotten: the session stays where it was before.

An edit of the working copy begins a new session; breakpoints move with their lines (what `commands` gave one
to do is forgotten). A job that does not do the same in each run may come to another place; the agent is told.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ..models import ActionRefused
from ..workbench import Driven, Workbench
from .base import Parameter, Tool
from .breakpoints import NOTE, Breakpoint, Debugging, after_edit, debugging
from .reports import Part, Unusable
from .run_code import ended

MOST_COMMANDS = 20
"""Of one use."""
LONGEST_SESSION = 200
"""Commands; each use replays them all."""
LONGEST_COMMAND = 500
MOST_BREAKPOINTS = 100
ROOM = 6_500
"""Bytes that all commands of a use may print together."""
WORKSPACE = "/workspace"
"""How drivers call the job's folder where they write."""
AGAIN = frozenset({"restart", "run", "q", "quit", "exit"})


class Pdb(Tool):
    name = "pdb"
    description = (
        "Commands for Python's debugger (b, tbreak, c, n, s, r, until, up, down, w, l, ll, p, pp, args, "
        "!statement, display, cl, condition, …), one each. A session begins at the job's first line and goes "
        "on with the next use; `restart` begins anew. Breakpoints (`b 40`, `b model.py:12, loss > 5`, "
        "`b Class.method`) stay and move with edits. Only the job's own files are stepped through. After an "
        "exception, its frames can be looked at."
    )
    parameters = (
        Parameter("commands", list, f"1 to {MOST_COMMANDS} debugger commands, in order", required=True),
    )

    def use(self, workbench: Workbench, commands: list[str]) -> str:
        first, rest, again = _segments(_lines(commands))
        session = debugging(workbench)
        told = list(session.news)
        session = replace(session, news=())
        if len(session.commands) + len(first) > LONGEST_SESSION:
            raise ActionRefused(
                f"this session has {len(session.commands)} commands; there may be {LONGEST_SESSION}. "
                "`restart` begins anew and keeps the breakpoints"
            )
        if first:
            session, text = _played(workbench, session, first)
            told.append(text)
        if again:
            session = session.anew()
            kept = ", ".join(map(str, session.breakpoints)) or "none"
            told.append(f"The session begins anew. Breakpoints: {kept}.")
        if rest:
            session, text = _played(workbench, session, rest)
            told.append(text)
        workbench.notes[NOTE] = session
        return "\n".join(told)

    def on_edit(self, workbench: Workbench, path: str, before: str, after: str) -> None:
        workbench.notes[NOTE] = after_edit(debugging(workbench), path, before, after)


def _lines(commands: list[str]) -> list[str]:
    """One command each; an empty one would repeat the last."""
    if sum(map(len, commands)) > 2 * MOST_COMMANDS * LONGEST_COMMAND:
        raise ActionRefused(
            f"pdb: a command may have {LONGEST_COMMAND} characters, a use {MOST_COMMANDS} commands"
        )
    lines = [line.strip() for text in commands for line in text.split("\n") if line.strip()]
    if not 1 <= len(lines) <= MOST_COMMANDS:
        raise ActionRefused(f"pdb: 1 to {MOST_COMMANDS} commands can be given at once, not {len(lines)}")
    for line in lines:
        if len(line) > LONGEST_COMMAND:
            raise ActionRefused(f"pdb: a command may have {LONGEST_COMMAND} characters: {line[:80]!a}…")
    return lines


def _segments(lines: list[str]) -> tuple[list[str], list[str], bool]:
    """What comes before a restart, what comes after it, and whether there is one."""
    places = [at for at, line in enumerate(lines) if line in AGAIN]
    if len(places) > 1:
        raise ActionRefused("pdb: one restart at once is enough")
    if not places:
        return lines, [], False
    return lines[: places[0]], lines[places[0] + 1 :], True


def _played(workbench: Workbench, session: Debugging, new: list[str]) -> tuple[Debugging, str]:
    """The session after new commands, and what these printed."""
    driven = workbench.drive(
        "pdb_session",
        commands=[*session.commands, *new],
        first=len(session.commands),
        breakpoints=[
            [one.file, one.line, one.condition, one.temporary, one.enabled] for one in session.began_with
        ],
        sources=[path for path in workbench.visible_files() if path.endswith(".py")],
        room=ROOM,
    )
    try:
        left = _Left(driven, len(new))
    except Unusable:
        return session, _failed(driven)
    text = left.told(driven.result.stdout)
    notes = []
    if session.commands and left.began != session.at:
        notes.append(
            "(The job did not come to the same place as before: it does not do the same in each run, or was "
            "told to do something else.)"
        )
    if not left.final:
        culprit = new[min(left.done, len(new) - 1)]
        notes.append(
            f"{ended(driven.result)} That was during `{culprit[:100]}`; it and what came after it are "
            f"forgotten, and the session is where it was before it{f': {left.at}' if left.at else ''}."
        )
    elif driven.result.dropped_bytes:
        notes.append("(more was printed than is kept)")
    done = new if left.final else new[: left.done]
    went_on = replace(session, commands=(*session.commands, *done), breakpoints=left.breakpoints, at=left.at)
    return went_on, "\n".join([text.rstrip(), *notes])


class _Left:
    """What the debugger reported, checked: the job could have written it.

    Raises:
        Unusable: it is no such report.
    """

    def __init__(self, driven: Driven, new: int) -> None:
        report = Part(driven.report)
        self.final = report.flag("final") and driven.result.outcome == "ok"
        self.done = min(report.whole("done"), new)
        self.at, self.began = report.text("at"), report.text("began")
        self.breakpoints = tuple(map(_breakpoint, report.items("breakpoints", MOST_BREAKPOINTS)))
        self._places = [WORKSPACE, *(one for one in report.items("places", 12) if isinstance(one, str))]

    def told(self, text: str) -> str:
        """What was printed, without addresses and the places where this machine keeps things."""
        for one in sorted(self._places, key=len, reverse=True):
            if one.startswith("/") and len(one) > 4:
                text = text.replace(one.rstrip("/") + "/", "")
        return re.sub(r"\b0x[0-9a-fA-F]{8,}", "0x…", text)


def _breakpoint(value: Any) -> Breakpoint:
    match value:
        case [str(file), int(line), None | str() as condition, bool(temporary), bool(enabled)] if (
            len(file) <= 200 and 0 < line < 1 << 31 and len(condition or "") <= LONGEST_COMMAND
        ):
            return Breakpoint(file, line, condition, temporary, enabled)
        case _:
            raise Unusable("breakpoints")


def _failed(driven: Driven) -> str:
    """The debugger did not come to the first new command: a limit stopped it, or a file of the job stands in
    the place of a module that it needs."""
    last = driven.result.stderr.strip().rpartition("\n")[2][:200]
    parts = [ended(driven.result), "The debugger left nothing; the session is where it was before."]
    return " ".join([*parts, f"Its last words: {last}"] if last else parts)
