"""The checker's own process: torch is loaded once, then every run is a forked child with hooks of its own.

Speaks JSON, one request and one answer per line. A request names a prepared workspace, its entry point, the
device and a folder for the report; the answer is the report (see `checker_hooks.Watch.report`) plus how
the child ended. Run by `checker.Checker`; it takes no arguments.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import checker_hooks  # beside this file, which is where the interpreter looks first
import torch
import torch._dynamo  # optimizers load it at their first use; loaded here it costs a run nothing

TIME_LIMIT = float(os.environ.get("MLDEBUG_CHECKER_LIMIT", "60"))
"""Seconds of wall time per run: more than a hundred times what a job needs on an idle core."""


def run_job(request: dict[str, Any]) -> None:
    """In the child: run the job, then leave `report.json` in the report folder."""
    folder, out = Path(request["workspace"]), Path(request["report"])
    with (out / "stdout").open("wb") as stdout, (out / "stderr").open("wb") as stderr:
        os.dup2(stdout.fileno(), 1)
        os.dup2(stderr.fileno(), 2)
    os.chdir(folder)
    if request["device"] == "cuda" and not request["real"]:
        from mldebug.grader.device import install

        install()
    if request["real"]:
        torch.use_deterministic_algorithms(True, warn_only=True)
    watch = checker_hooks.Watch()
    checker_hooks.observe(watch)
    sys.path.insert(0, str(folder))
    sys.argv = [request["entrypoint"]]
    error: dict[str, str] | None = None
    try:
        runpy.run_path(str(folder / request["entrypoint"]), run_name="__main__")
    except SystemExit as stop:
        if stop.code not in (None, 0):
            error = {"type": "SystemExit", "text": str(stop.code)}
    except BaseException as raised:
        error = {"type": type(raised).__name__, "text": str(raised)}
        traceback.print_exc()
    report = watch.report() | {"error": error}
    (out / "report.json").write_text(json.dumps(report), "utf-8")
    sys.stdout.flush()
    sys.stderr.flush()


def end_group(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def serve_one(request: dict[str, Any]) -> dict[str, Any]:
    """Fork, wait at most TIME_LIMIT, end the whole group, and read what was left."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            run_job(request)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + TIME_LIMIT
    status = None
    while status is None and time.monotonic() < deadline:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
        else:
            time.sleep(0.004)
    end_group(child)
    if status is None:
        os.waitpid(child, 0)
        return {"ended": f"stopped after {TIME_LIMIT:g} s"}
    path = Path(request["report"]) / "report.json"
    if status != 0 or not path.is_file():
        tail = (Path(request["report"]) / "stderr").read_bytes()[-400:].decode("utf-8", "replace")
        return {"ended": f"exit status {status}: {tail}"}
    report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return report | {"ended": "finished"}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing but answers may reach the pipe
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    torch.set_num_threads(1)
    import mldebug.grader.device  # noqa: F401  loaded before the fork, switched on in the child

    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for line in requests:
        answers.write(json.dumps(serve_one(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
