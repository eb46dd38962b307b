"""Folders for debug-gym 1.3, and a module that opens one as an environment."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from ..bundle import Bundle, Entry
from ..texts import about, canary_comment, instruction, text_file
from ..writing import File

MODULE = "mldebug_gym.py"
CHECK = "check.py"
ALERT = "alert.txt"

OPEN = '''"""Opens exported tasks in debug-gym 1.3: `environment(NAME)`; `NAMES` has the names."""

import json
import shlex
from pathlib import Path

from debug_gym.experiment import add_tools
from debug_gym.gym.envs import MiniNightmareEnv
from debug_gym.gym.terminals import select_terminal
from debug_gym.logger import DebugGymLogger

HERE = Path(__file__).resolve().parent
TASKS = json.loads((HERE / "tasks.json").read_text("utf-8"))
NAMES = sorted(TASKS)
TOOLS = ["listdir", "view", "grep", "edit", "eval"]
TOOLS += [{"pdb": {"auto_list": False}}, {"submit": {"eval_on_submit": True}}]


class Job(MiniNightmareEnv):
    """A folder of Python and data, like those of Mini Nightmare, that says what is asked."""

    @property
    def instructions(self):
        return (Path(self.task_data["codebase"]) / "alert.txt").read_text("utf-8")


def environment(name, tools=TOOLS, terminal=None, logger=None):
    """A task's environment; `reset()` begins. `eval` runs the job on data that nobody here saw, with the
    Python that MLDEBUG_PYTHON names (one with mldebug), `pdb` with the terminal's own (one with torch).

    terminal: as a configuration of debug-gym has it; by default a local one.
    """
    task, logger = TASKS[name], logger or DebugGymLogger(name)
    about = {"task_name": name, "codebase": str(HERE / "tasks" / name), "filename": task["filename"]}
    env = Job(
        task_data=about,
        terminal=select_terminal(terminal or {"type": "local", "command_timeout": 300}, logger, uuid=name),
        entrypoint=f"python -I {shlex.quote(str(HERE / 'check.py'))} {name}",
        debug_entrypoint=f"python -m pdb {task['command']}",
        run_timeout=300,
        logger=logger,
    )
    add_tools(env, {"tools": list(tools)}, logger)
    return env
'''

CHECKER = '''"""Judges the job in this folder, and says so in pytest's words, which debug-gym reads."""

import os
import subprocess
import sys
from pathlib import Path

task = Path(__file__).resolve().parent / "graders" / Path(sys.argv[1]).name
python = os.environ.get("MLDEBUG_PYTHON", sys.executable)
judge = [python, "-I", "-m", "mldebug.benchmark.exporters.judge", str(task), os.getcwd(), "--repair-only"]
done = subprocess.run(judge, capture_output=True, text=True, stdin=subprocess.DEVNULL)
ends = {0: "1 passed", 1: "1 failed"}
said = done.stdout if done.returncode in ends else f"The job could not be judged. {done.stderr}"
said = said.replace("passed", "ok")  # what a job says may not be taken for the result
print("collected 1 item", said.strip(), f"==== {ends.get(done.returncode, '1 error')} ====", sep="\\n\\n")
sys.exit(done.returncode)
'''


def files(bundle: Bundle) -> Iterator[File]:
    """What an agent's workspace is copied from, apart from what judges it."""
    yield File("README.md", readme(bundle))
    yield File(MODULE, OPEN.encode())
    yield File(CHECK, CHECKER.encode())
    known = {one.id: {"command": _command(one), "filename": one.entrypoint} for one in bundle.entries}
    yield File("tasks.json", json.dumps(known, indent=2, sort_keys=True).encode() + b"\n")
    for entry in bundle.entries:
        for path, content in codebase(entry).items():
            yield File(f"tasks/{entry.id}/{path}", content)
        for path, content in entry.for_grading().items():
            yield File(f"graders/{entry.id}/{path}", content)


def _command(entry: Entry) -> str:
    return shlex.join([entry.entrypoint, *entry.arguments])


def codebase(entry: Entry) -> dict[str, bytes]:
    """What an agent's workspace is copied from. debug-gym puts under git what is Python or ends in `.txt`,
    and gives no patch where one of the two is missing."""
    told = instruction(entry, "this folder", claim=False).encode()
    return entry.workspace() | {
        ALERT: told,
        ".debugignore": b"__pycache__/\n",
        ".debugreadonly": f"{ALERT}\ndata/\n".encode(),
    }


def readme(bundle: Bundle) -> bytes:
    lines = [
        f"{canary_comment(bundle)}# mldebug {bundle.name} for debug-gym",
        "",
        *about(bundle),
        "For debug-gym 1.3.0, which needs Python 3.12. In this folder, with `MLDEBUG_PYTHON` naming a Python "
        "that has mldebug (and a `python` on the path that has torch, for `pdb`):",
        "",
        "```python",
        "from debug_gym.gym.tools.tool import ToolCall",
        "from mldebug_gym import NAMES, environment",
        "",
        "env = environment(NAMES[0])",
        "info = env.reset()",
        'info = env.step(ToolCall(id="1", name="eval", arguments={}))',
        "print(info.resolved, info.eval_observation)",
        "```",
        "",
        f"A task's workspace is copied from `tasks/ID`; `{ALERT}` there says what is asked. `graders/ID` has "
        "the answer. What judges a job lies outside of its workspace, so that no edit reaches it; but "
        "debug-gym's local terminal is no sandbox: a `bash` tool or `pdb` in it can read this whole folder. "
        "Where that matters, use a terminal in a container. Only the repair counts: no classes are named.",
        "",
    ]
    return text_file(lines)
