"""What commands to the debugger cannot do: leave the sandbox, outlive a step, hang, flood, or lie."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldebug.env import Services
from mldebug.env import workbench as workbenches
from mldebug.env.models import ActionRefused
from mldebug.env.tools.base import MOST_CHARACTERS, Toolbox
from mldebug.env.tools.breakpoints import Debugging, debugging
from mldebug.env.workbench import Workbench
from mldebug.mutators.workspace import Workspace

from ...written import task

NAME = "eval-machine-2"
NAMES = (NAME,)


def workbench(services: Services, source: str) -> Workbench:
    known = replace(task(NAME), broken=Workspace.of({"train.py": source}, "train.py"))
    return Workbench(known, services, dict(known.broken.files), {})


def say(tools: Toolbox, on: Workbench, *commands: str) -> str:
    return tools.use(on, "pdb", {"commands": list(commands)})


def left_over() -> list[str]:
    """The command lines of what stays below this process's zygotes when no run goes on.

    A strict one keeps three: behind its warden itself, what makes cells, and the next run's cell, made ahead.
    The cell of a run that ended may take a moment to go.
    """
    deadline = time.monotonic() + 20
    while True:
        lines, children = {}, defaultdict(list)
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit():
                    state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                    lines[int(entry.name)] = f"{state} {(entry / 'cmdline').read_text()}"
                    children[int(parent)].append(int(entry.name))
        zygotes = [one for one in children[os.getpid()] if "mldebug.grader.runner.zygote" in lines[one]]
        assert zygotes
        found, waiting = [], list(zygotes)
        while waiting:
            below = children[waiting.pop()]
            waiting += below
            found += [lines[one] for one in below if not lines[one].startswith("Z")]
        if len(found) <= 3 * sum("strict" in lines[one] for one in zygotes):
            return []
        if time.monotonic() > deadline:
            return found
        time.sleep(0.05)


COUNT = "for number in range(3):\n    print('number', number)\nprint('end')\n"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("!import os; os._exit(3)", "The job ended with exit code 3."),
        ("!import os; os.kill(os.getpid(), 9)", "The job was killed by signal 9."),
        ("!import ctypes; ctypes.string_at(0)", "The job was killed by signal 11."),
        ("!while True: pass", "it did not finish in the time a run may take"),
        ("!while True: print('flood')", "it did not finish in the time a run may take"),
        ("!import os; os.killpg(0, 19)", "it did not finish in the time a run may take"),
    ],
)
def test_a_command_that_ends_its_run_is_forgotten(
    services: Services, tools: Toolbox, monkeypatch: pytest.MonkeyPatch, command: str, expected: str
) -> None:
    monkeypatch.setattr(workbenches, "LIMITS", replace(workbenches.LIMITS, cpu_seconds=1, wall_seconds=3.0))
    on = workbench(services, COUNT)
    say(tools, on, "b 2", "c")
    text = say(tools, on, "p 'kept'", command, "p 'lost'")
    assert expected in text and "(Pdb) p 'kept'\n'kept'" in text and "'lost'" not in text
    assert text.endswith("forgotten, and the session is where it was before it: train.py:2.")
    assert debugging(on).commands == ("b 2", "c", "p 'kept'")
    assert len(text) <= MOST_CHARACTERS + 200
    assert say(
        tools, on, "p number", "c"
    ) == "(Pdb) p number\n0\n(Pdb) c\nnumber 0\n> train.py(2)<module>()\n" + ("-> print('number', number)")
    assert not left_over()


@pytest.mark.parametrize(
    "command",
    [
        "!import os; os.fork()",
        "!import os; os.fork() or __import__('time').sleep(1000)",
        "!import multiprocessing as m; m.Process(target=__import__('time').sleep, args=(1000,)).start()",
        "!import threading; threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
        "!import sys, subprocess; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])",
    ],
)
def test_nothing_outlives_a_step(services: Services, tools: Toolbox, command: str) -> None:
    on = workbench(services, COUNT)
    on.run()
    text = say(tools, on, command, "b 3", "c", "n", "p 1 + 1")
    assert text.count("number 2") == 1 and text.endswith("(Pdb) p 1 + 1\n2")
    assert not left_over()


def test_commands_run_inside_the_sandbox(services: Services, tools: Toolbox, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    on = workbench(services, COUNT)
    held = on.run().guarantees
    text = say(
        tools,
        on,
        f"!print(open({str(Path(__file__).parents[3] / 'README.md')!r}).read())",
        "!import socket; print('connected', socket.create_connection(('127.0.0.1', 22), 1))",
        f"!open({str(kept)!r}, 'w')",
        "!import mldebug.grader.oracles",
        "!import mldebug.mutators.shape_mismatch",
    )
    assert text.count("(Pdb)") == 5
    if "no_read" in held:
        assert "Broken PyTorch training scripts" not in text
        assert len(re.findall(r"\*\*\* (FileNotFound|ModuleNotFound|Import|Permission)Error", text)) >= 3
    if "no_network" in held:
        assert "connected" not in text.replace("print('connected'", "")
    if "no_write" in held:
        assert not kept.exists()


def test_output_is_bounded_and_each_command_gets_a_share(services: Services, tools: Toolbox) -> None:
    on = workbench(services, COUNT)
    text = say(
        tools,
        on,
        "p 'x' * 10_000_000",
        "!for at in range(100_000): print('row', at)",
        "!import os; os.write(2, b'raw\\n' * 100)",
        "p 'the last'",
    )
    assert len(text) <= MOST_CHARACTERS + 200
    assert "(Pdb) p 'x' * 10_000_000\n'xxx" in text and "xxx'\n(Pdb) !for" in text
    assert "bytes left out" in text and "row 99999\n" in text
    assert text.endswith("(Pdb) p 'the last'\n'the last'")


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([], "1 to 20 commands"),
        ([" ", "\n\n"], "1 to 20 commands"),
        (["p 1"] * 21, "1 to 20 commands"),
        (["p 1\n" * 21], "1 to 20 commands"),
        (["p " + "1" * 500], "may have 500 characters"),
        (["x" * 2_000_000], "may have 500 characters"),
        (["restart", "p 1", "q"], "one restart"),
    ],
)
def test_too_much_is_refused(services: Services, tools: Toolbox, commands: list[str], expected: str) -> None:
    on = workbench(services, COUNT)
    with pytest.raises(ActionRefused, match=expected):
        say(tools, on, *commands)
    assert not on.notes


def test_a_session_has_an_end(services: Services, tools: Toolbox) -> None:
    on = workbench(services, COUNT)
    say(tools, on, "b 3")
    kept = debugging(on)
    on.notes["pdb"] = replace(kept, commands=(*kept.commands, *["p 1"] * 180))
    with pytest.raises(ActionRefused, match=r"has 181 commands; there may be 200\. `restart` begins anew"):
        say(tools, on, *["p 2"] * 20)
    assert "Breakpoints: train.py:3." in say(tools, on, "restart")
    assert debugging(on).commands == ()


FORGED = """import json, os
report = {report}
with open("_report.json", "w") as file:
    file.write(report if isinstance(report, str) else json.dumps(report))
print("forged")
os._exit(0)
"""


@pytest.mark.parametrize(
    "report",
    [
        "not json",
        [],
        {"done": 1},
        {"done": -5, "final": True, "at": "", "began": "", "breakpoints": [], "places": []},
        {"done": 1, "final": "yes", "at": "", "began": "", "breakpoints": [], "places": []},
        {"done": 1, "final": True, "at": 3, "began": "", "breakpoints": [], "places": []},
        {"done": 1, "final": True, "at": "", "began": "", "breakpoints": [["a", 1]], "places": []},
        {
            "done": 1,
            "final": True,
            "at": "",
            "began": "",
            "breakpoints": [["a", 1, None, 1, 1]] * 9,
            "places": [],
        },
        {"done": 1, "final": True, "at": "", "began": "", "breakpoints": [], "places": ["/"] * 99},
        {"done": 1, "final": True, "at": "x" * 9_999, "began": "", "breakpoints": [], "places": ["/", 3]},
        {"done": 10**40, "final": False, "at": "", "began": "", "breakpoints": [], "places": ["/", "/x"]},
    ],
)
def test_a_forged_report_is_read_or_refused(services: Services, tools: Toolbox, report: object) -> None:
    on = workbench(services, FORGED.format(report=repr(report)))
    text = say(tools, on, "n", "c")
    assert len(text) <= MOST_CHARACTERS + 200 and "Traceback" not in text
    assert len(debugging(on).commands) <= 2 and debugging(on).breakpoints == ()
    assert isinstance(on.notes["pdb"], Debugging)
    on.change({"train.py": COUNT})
    assert say(tools, on, "n").endswith("> train.py(2)<module>()\n-> print('number', number)")


@pytest.mark.parametrize("module", ["bdb", "pdb", "cmd", "traceback", "linecache"])
def test_a_file_in_the_place_of_a_module_that_the_debugger_needs(
    services: Services, tools: Toolbox, module: str
) -> None:
    on = workbench(services, COUNT)
    on.change({f"{module}.py": "raise SystemExit('in the way')\n"})
    text = say(tools, on, "n")
    assert "the session is where it was before" in text or text.startswith("> train.py(1)")
    assert "Traceback" not in text


WORDS = (
    "b c n s r p l ll w up down cl tbreak until j args display commands end alias x 1 2 3 99 ;; %1 ( "
    "train.py:2 number ! = condition ignore enable disable whatis source help EOF retval undisplay pp"
)
COMMANDS = st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=3).map(" ".join)


@settings(max_examples=12)
@given(st.lists(COMMANDS, min_size=1, max_size=12))
def test_any_commands_are_answered(services: Services, tools: Toolbox, commands: list[str]) -> None:
    on = workbench(services, COUNT)
    try:
        text = say(tools, on, *commands)
    except ActionRefused as refusal:
        assert "1 to 20 commands" in str(refusal)
        return
    assert text.startswith("> train.py(1)<module>()") and "left nothing" not in text
    assert "bdb.py" not in text and 'File "_' not in text and "AttributeError" not in text
