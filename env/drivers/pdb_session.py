"""The job under pdb, from its first line, with commands that were given beforehand.

Settings: `commands`: all of the session. `first`: the index of the first new one; only what comes from there
on is shown. `breakpoints`: [file, line, condition, temporary, enabled] each. `sources`: the files that are
debugged; libraries run untraced, and their frames are not shown. `room`: bytes that may be printed.

When the commands are used up the process ends, in the midst of the job: nothing of a session lives on.
"""

from __future__ import annotations

import bdb
import cmd
import inspect
import io
import os
import pdb
import re
import sys
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn, cast

from .attach import FOLDER, OWN, _clean, is_jobs, place, settings, start, without_places, write
from .pdb_output import Feed, Sink
from .pdb_places import Places, first_line, path_of

RESUMING = frozenset(
    ["c", "cont", "continue", "n", "next", "s", "step", "r", "return", "unt", "until", "j", "jump"]
)
PLACELESS = frozenset(
    ["b", "break", "tbreak", "cl", "clear", "condition", "disable", "enable", "ignore", "h", "help"]
)
"""Commands that need no place in the job."""
REFUSED = {
    **dict.fromkeys(["q", "quit", "exit", "EOF", "run", "restart"], "give this as a command of its own"),
    "interact": "there is no one to type; give the statements as commands, `!` before each",
    "debug": "there is no debugger within the debugger; set a breakpoint, or use step",
}


class Session(pdb.Pdb):
    """Stops in the job's own files only."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._commands: list[str] = asked["commands"]
        self._first: int = asked["first"]
        self._taken = 0
        self._entrypoint: str = asked["entrypoint"]
        self._places = Places(asked["sources"])
        self._foreign: set[str] = set()
        self._over = ""
        self._forked = False
        self._report: dict[str, Any] = {"done": 0, "final": False, "at": "", "began": ""}
        self._kept = os.dup(1)
        self._sink = Sink(self._kept, asked["room"], len(self._commands) - self._first + 1)
        out = io.TextIOWrapper(cast(Any, self._sink), "utf-8", "backslashreplace", write_through=True)
        sys.stdout = sys.stderr = out
        super().__init__(stdin=cast(Any, Feed(self._next)), stdout=out, nosigint=True, readrc=False)
        self.prompt = ""
        self.reset()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.register_at_fork(after_in_child=self._in_fork)
        lost = [f"{one[0]}:{one[1]}" for one in asked["breakpoints"] if not self._restore(*one)]
        if not self._first:
            self._go_live()
        for one in lost:
            self.message(f"The breakpoint at {one} is gone: no line of code is there any more.")

    def debug(self) -> NoReturn:
        """Run the job, and the commands to their end."""
        sys.breakpointhook = pdb.set_trace = self._called
        try:
            sys.settrace(self.trace_dispatch)
            start(self._entrypoint)
            self._ended("The job has ended.")
        except SystemExit as exit:
            self._ended(f"The job has ended by sys.exit({'' if exit.code is None else repr(exit.code)}).")
        except BaseException as error:
            self._crashed(error)
        self._leave()

    def _ended(self, text: str) -> None:
        sys.settrace(None)
        self._over = "The job has ended; `restart` begins anew."
        self.message(text)
        while True:
            self.cmdloop()

    def _crashed(self, error: BaseException) -> None:
        sys.settrace(None)
        _clean(error)
        try:
            told = traceback.TracebackException(type(error), error, error.__traceback__)
            told.stack = traceback.StackSummary.from_list(
                one for one in told.stack if one.filename not in _DEBUGGERS
            )
            text = without_places("".join(told.format()))
        except Exception as problem:  # an exception of the job's own making may refuse to be printed
            text = f"{type(error).__name__} ({type(problem).__name__} when it was printed)\n"
        self.message(text.rstrip())
        if not any(self._mine(frame) for frame in _frames(error.__traceback__)):
            self._ended("The job has ended with this exception, outside of any line of its own.")
        self._over = "The job has ended with an exception; `restart` begins anew."
        self.message("The job has ended with this exception. Its frames are still here: w, up, p, …")
        while True:
            self.interaction(None, error.__traceback__)

    # which frames, which lines

    def trace_dispatch(self, frame: FrameType, event: str, arg: Any) -> Any:
        name = frame.f_code.co_filename
        if name in self._foreign:  # by far the most calls are those of libraries
            return None
        if not self._mine(frame):
            self._foreign.add(name)
            return None
        return super().trace_dispatch(frame, event, arg)

    def _mine(self, frame: FrameType) -> bool:
        return self._places.file_of(frame.f_code) is not None

    def break_anywhere(self, frame: FrameType) -> bool:
        """Whether a breakpoint stands in this frame's own lines: all others need no tracing."""
        breaks = self.breaks.get(self.canonic(frame.f_code.co_filename))
        return breaks is not None and not self._places.lines_of(frame.f_code).isdisjoint(breaks)

    def setup(self, f: FrameType | None, tb: TracebackType | None) -> Any:
        done = super().setup(f, tb)
        if not self._over:
            for frame, _ in self.stack:  # those that called this one may have run untraced so far
                frame.f_trace = self.trace_dispatch
        return done

    def get_stack(
        self, f: FrameType | None, t: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        stack, _ = super().get_stack(f, t)
        kept = [one for one in stack if self._mine(one[0])]
        at = next((at for at, one in enumerate(kept) if one[0] is f), len(kept) - 1)
        return kept, at

    def set_return(self, frame: FrameType) -> None:
        super().set_return(frame)
        caller = frame.f_back
        while caller is not None and not self._mine(caller):
            caller = caller.f_back
        if self.stopframe is frame.f_back and caller is not None:
            self.stopframe = caller

    def interaction(self, frame: FrameType | None, *about: Any) -> None:
        if not self._forked:
            super().interaction(frame, *about)

    def _called(self, *_: Any, **__: Any) -> None:
        """The job's own `breakpoint()`."""
        if not self._forked:
            self.set_trace(sys._getframe(1))

    def _in_fork(self) -> None:
        """Processes that the job forks are not debugged, and print nothing here."""
        self._forked, self._sink.live = True, False
        sys.settrace(None)

    # commands

    def _next(self) -> str:
        """The next command; the end of the session where there is none."""
        if self._forked:
            os._exit(0)
        if self._taken >= self._first and self._sink.live:
            self._sink.complete()
            self._note()
        if self._taken == len(self._commands):
            self._leave()
        if not self._sink.live and self._taken == self._first:
            self._go_live()
        command = self._commands[self._taken]
        self._taken += 1
        self.stdout.write(f"{'' if self.prompt else '(Pdb) '}{command}\n")
        return command + "\n"

    def onecmd(self, line: str) -> bool:
        if self.commands_defining or line.startswith("_pdbcmd"):
            return super().onecmd(line)
        if re.match(r"\s*[A-Za-z_]\w*\s*=[^=]", line):
            line = "!" + line.strip()  # `c = 5` assigns
        name = self.parseline(line)[0]
        if name in REFUSED:
            self.error(f"{name}: {REFUSED[name]}")
        elif self._over and (name in RESUMING or (self.curframe is None and name not in PLACELESS)):
            self.error(self._over)
        else:
            return super().onecmd(line)
        return False

    def default(self, line: str) -> None:
        kept, self.stdin = self.stdin, io.StringIO()  # statements do not read commands
        try:
            super().default(line)
        finally:
            self.stdin = kept

    def do_source(self, arg: str) -> None:
        try:
            found: Any = self._getval(arg)
            file = inspect.getfile(inspect.unwrap(found))
        except Exception:
            file = ""
        if is_jobs(os.path.abspath(file)) and not self._places.has(file):  # noqa: PTH100
            self.error("this file is not shown")
        else:
            super().do_source(arg)

    # breakpoints

    def do_break(self, arg: str, temporary: Any = False) -> None:
        if not arg.strip():
            for one in self._breakpoints():
                self.message(f"{one.number}: {_told(one, os.path.relpath(one.file, FOLDER))}")
            return
        found = re.match(r"(.+?)\s+if\s+(.+)$", arg)
        where, _, condition = (found[1], ",", found[2]) if found else arg.partition(",")
        condition = condition.strip()
        try:
            if condition:
                compile(condition, "<condition>", "eval")
            file, line = self._find(where.strip())
            at = self._places.line_with_code(file, line)
        except (ValueError, SyntaxError) as error:
            self.error(str(error))
            return
        one = self._set(file, at, condition or None, bool(temporary))
        note = "" if at == line else f" (line {line} holds no code)"
        self.message(f"Breakpoint {one.number} at {_told(one, file)}{note}")

    do_b = do_break

    def do_clear(self, arg: str) -> None:
        if not arg.strip():
            self.clear_all_breaks()
            self.message("All breakpoints are deleted.")
            return
        if not all(one.isdigit() for one in arg.split()):
            try:
                file, line = self._find(arg.strip())
                numbers = [one.number for one in self.get_breaks(path_of(file), line)]
                if not numbers:
                    raise ValueError(f"there is no breakpoint at {file}:{line}")
            except ValueError as error:
                self.error(str(error))
                return
        else:
            numbers = [int(one) for one in arg.split()]
        for number in numbers:
            problem = self.clear_bpbynumber(number)
            if problem:
                self.error(problem)
            else:
                self.message(f"Breakpoint {number} is deleted.")

    do_cl = do_clear

    def _set(self, file: str, line: int, condition: str | None, temporary: bool) -> bdb.Breakpoint:
        path = path_of(file)
        self.set_break(path, line, temporary, condition)
        return self.get_breaks(path, line)[-1]

    def _restore(self, file: str, line: int, condition: str | None, temporary: bool, enabled: bool) -> bool:
        try:
            one = self._set(file, self._places.line_with_code(file, line), condition, temporary)
        except (ValueError, KeyError):
            return False
        if not enabled:
            one.disable()
        return True

    @staticmethod
    def _breakpoints() -> list[bdb.Breakpoint]:
        return [one for one in bdb.Breakpoint.bpbynumber if one]

    def _find(self, text: str) -> tuple[str, int]:
        """File and line of a place, as `Places.find` reads it; names are those of the current frame first.

        Raises:
            ValueError: there is no such place, or it could be several.
        """
        here = None
        if self.curframe is not None:
            here = self._places.file_of(self.curframe.f_code)
            try:
                found = eval(text, self.curframe.f_globals, self.curframe_locals)
                function: Any = getattr(found, "__func__", found)
                code = function.__code__
                file = self._places.file_of(code)
            except Exception:
                file = None
            if file is not None:
                return file, first_line(code)
        return self._places.find(text, here or self._entrypoint)

    # what is left for the tool

    def _go_live(self) -> None:
        self._report["began"] = self._at()
        self._note()
        os.dup2(self._kept, 1)
        os.dup2(self._kept, 2)
        self._sink.live = True

    def _at(self) -> str:
        if self._over and self.curframe is None:
            return "the end"
        return place(*self.stack[self.curindex]) if self.stack else ""

    def _note(self) -> None:
        self._report.update(
            done=max(0, self._taken - self._first),
            at=self._at(),
            breakpoints=[
                [
                    os.path.relpath(one.file, FOLDER),
                    one.line,
                    one.cond,
                    bool(one.temporary),
                    bool(one.enabled),
                ]
                for one in self._breakpoints()
            ],
            places=[FOLDER, *(one for one in sys.path if isinstance(one, str))][:12],
        )
        write(self._report)

    def _leave(self) -> NoReturn:
        """End here, in the midst of the job: what it would do at its end is none of this session's."""
        try:
            self._sink.complete()
            self._report["final"] = self._taken == len(self._commands)
            self._note()
        finally:
            os._exit(0)


_DEBUGGERS = {
    *OWN,
    *(sys.modules[one.__module__].__file__ for one in (Sink, Places)),
    *(one.__file__ for one in (pdb, bdb, cmd)),
}


def _frames(link: TracebackType | None) -> Iterator[FrameType]:
    while link is not None:
        yield link.tb_frame
        link = link.tb_next


def _told(one: bdb.Breakpoint, file: str) -> str:
    rest = [f" if {one.cond}"] if one.cond else []
    rest += [" (temporary)"] if one.temporary else []
    rest += [] if one.enabled else [" (disabled)"]
    return f"{file}:{one.line}{''.join(rest)}"


if __name__ == "__main__":
    Session(settings()).debug()
