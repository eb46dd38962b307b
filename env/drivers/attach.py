"""What all drivers share: start the job as `python train.py` would, and write a report whatever happens.

A driver defines functions that hook into torch, then calls `run(settings, report)`. Runs inside the job's own
process, in the sandbox; needs the standard library and torch only.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from typing import Any

REPORT = "_report.json"
MOST_REPORT_BYTES = 1 << 20
FOLDER = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
OWN = {os.path.join(FOLDER, name) for name in ("_attach.py", "_driver.py")}  # noqa: PTH118


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
    return repr(value)[:200]


def write(report: dict[str, Any]) -> None:
    """Leave the report where the tool finds it."""
    text = json.dumps(plain(report))
    if len(text) < MOST_REPORT_BYTES:
        with open(os.path.join(FOLDER, REPORT), "w") as file:  # noqa: PTH118, PTH123
            file.write(text)


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
    main.__dict__.update(__file__=path, __builtins__=__builtins__)
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def run(report: dict[str, Any], entrypoint: str) -> None:
    """Run the job to its end, write the report, and end as the job ended (0 after `Enough`).

    A traceback that the job leaves is printed without the driver's own frames, and stands in the report as
    `error`.
    """
    code = 0
    try:
        start(entrypoint)
    except Enough:
        report["stopped"] = True
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException as error:
        code = 1
        lines = traceback.TracebackException.from_exception(error)
        lines.stack = traceback.StackSummary.from_list(one for one in lines.stack if one.filename not in OWN)
        text = "".join(lines.format())
        report["error"] = text[-4000:]
        sys.stderr.write(text)
    try:
        write(report)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
