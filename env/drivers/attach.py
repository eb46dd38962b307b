"""What all drivers share: start the job as `python train.py` would, and leave a report whatever happens.

A driver defines functions that hook into torch, then calls `run(report, entrypoint)`. Runs inside the job's
own process, in the sandbox; needs the standard library and torch only.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn

REPORT = "_report.json"
MOST_REPORT_BYTES = 1 << 20
FOLDER = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
OWN = {
    os.path.join(FOLDER, name)  # noqa: PTH118
    for name in ("_attach.py", "_describe.py", "_driver.py", "_watch.py")
}
SHOWN = "/workspace"
"""How the job's folder is called in what people read."""
LONGEST_ERROR, BEGINNING = 6_800, 1_500
"""Characters of a traceback that are kept, and how many of them are its first lines."""

before_writing: list[Callable[[], None]] = []
"""Called before the report is written: what makes figures of what was noted."""

_process = os.getpid()
_leave, _dumps = os._exit, json.dumps
"""As they were before a job could replace them."""


class Enough(BaseException):
    """Raised by a driver that has seen what it wanted: ends the job, which no `except Exception` keeps."""


def settings() -> dict[str, Any]:
    """What the tool asked for; `entrypoint` is always there."""
    return dict(json.loads(sys.argv[1]))


def plain(value: Any) -> Any:
    """A value that JSON holds: numbers that are not finite become their names."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if value is None or isinstance(value, str | int | bool):
        return value
    return without_places(repr(value)[:200])


def without_places(text: str) -> str:
    """The text without addresses of objects, and with the job's folder under the name that people read."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text.replace(FOLDER, SHOWN))


def write(report: dict[str, Any]) -> None:
    """Leave the report where the tool finds it, unless the job is in the way. Processes that it forked leave
    none."""
    if os.getpid() != _process:
        return
    path = os.path.join(FOLDER, REPORT)  # noqa: PTH118
    new = path + ".new"
    with contextlib.suppress(Exception):
        for summary in before_writing:
            summary()
        text = _dumps(plain(report))
        if len(text) >= MOST_REPORT_BYTES:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)  # noqa: PTH108
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.replace(new, path)  # noqa: PTH105


def finish(report: dict[str, Any]) -> NoReturn:
    """Enough was seen: end the job here and now. Unlike `Enough`, no handler of the job's can be in the way,
    and it works in any of its threads."""
    report["stopped"] = report["final"] = True
    try:
        write(report)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        _leave(0)


def start(entrypoint: str) -> None:
    """Run the entry point as the main program; its own folder comes first on the path.

    The module is the real `__main__`, so that what the job defines can be pickled and found.
    """
    path = os.path.join(FOLDER, entrypoint)  # noqa: PTH118
    sys.argv = [entrypoint]
    sys.path[0] = os.path.dirname(path)  # noqa: PTH120
    with open(path, "rb") as file:  # noqa: PTH123
        code = compile(file.read(), path, "exec", dont_inherit=True)
    main = type(sys)("__main__")
    main.__dict__.update(__file__=path, __builtins__=__builtins__, __annotations__={}, __cached__=None)
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def run(report: dict[str, Any], entrypoint: str) -> None:
    """Run the job to its end, leave the report, and end as the job ended (0 after `Enough`).

    A traceback that the job leaves is printed as plain Python would print it, and stands in the report:
    `error` (all of it), `raised` (its last line) and `place` (the innermost line of the job's own files).
    `exit`: what the job gave to `sys.exit`. `final`: the job came to its end (or was stopped by the driver);
    without it, the report is what was written on the way. Threads of the job are waited for, and its exit
    functions run, before the last word is written.
    """
    atexit.register(_last_word, report)  # called last, as the first one registered
    os._exit = _leaving(report)
    write(report)
    code = 0
    try:
        start(entrypoint)
    except Enough:
        report["stopped"] = True
    except SystemExit as exit:
        report["exit"] = "" if exit.code is None else str(exit.code)[:500]
        raise
    except BaseException as error:
        code = 1
        try:
            _crashed(report, error)
        except Exception as problem:  # an exception of the job's own making may refuse to be looked at
            report["raised"] = type(error).__name__
            sys.stderr.write(f"{type(error).__name__} ({type(problem).__name__} when it was printed)\n")
    write(report)
    sys.exit(code)


def frames_of_job(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the job's own files, from this one outwards."""
    while frame is not None:
        if is_jobs(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def is_jobs(file: str) -> bool:
    return file.startswith(FOLDER + os.sep) and file not in OWN


def place(frame: FrameType, line: int | None = None) -> str:
    """`train.py:12 in main`; nothing about the function at the top level of a file."""
    name, function = frame.f_code.co_filename[len(FOLDER) + 1 :], frame.f_code.co_name
    at = f"{name}:{frame.f_lineno if line is None else line}"
    return at if function == "<module>" else f"{at} in {function}"


def _crashed(report: dict[str, Any], error: BaseException) -> None:
    _clean(error)
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    text = without_places("".join(told.format()))
    report["error"] = _shortened(text)
    last = "".join(told.format_exception_only()).strip()
    is_syntax = isinstance(error, SyntaxError)  # its lines of source come before the message
    last = last.rpartition("\n")[2] if is_syntax else last.partition("\n")[0]
    report["raised"] = without_places(last)[:500]
    report["place"] = _place_of(error)
    write(report)
    try:
        sys.stdout.flush()
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException:
        sys.__excepthook__(type(error), error, error.__traceback__)


def _shortened(text: str) -> str:
    """Without the middle lines of a text that is too long."""
    if len(text) <= LONGEST_ERROR:
        return text
    beginning = text[:BEGINNING].rpartition("\n")[0]
    return f"{beginning}\n[…]\n{text[BEGINNING - LONGEST_ERROR :].partition(chr(10))[2]}"


def _place_of(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and is_jobs(str(error.filename)):
        return f"{str(error.filename)[len(FOLDER) + 1 :]}:{error.lineno}"
    found = ""
    link = error.__traceback__
    while link is not None:
        if is_jobs(link.tb_frame.f_code.co_filename):
            found = place(link.tb_frame, link.tb_lineno)
        link = link.tb_next
    return found


def _clean(error: BaseException) -> None:
    """Take the frames of drivers, and of what runs them, out of an exception and all chained to it."""
    runner = sys.modules.get("mldebug.grader.runner.tracebacks")
    if runner is not None:
        runner.clean(error)
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = _without_own(one.__traceback__)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _without_own(link: TracebackType | None) -> TracebackType | None:
    kept = []
    while link is not None:
        if link.tb_frame.f_code.co_filename not in OWN:
            kept.append(link)
        link = link.tb_next
    found = None
    for one in reversed(kept):
        found = TracebackType(found, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return found


def _last_word(report: dict[str, Any]) -> None:
    report["final"] = True
    write(report)


def _leaving(report: dict[str, Any]) -> Any:
    def _exit(status: int) -> NoReturn:
        """`os._exit`, for a job that ends that way."""
        try:
            write(report)
        finally:
            _leave(status)

    return _exit
