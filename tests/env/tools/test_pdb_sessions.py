"""The debugger: sessions that go on, breakpoints that stay, crashes that can be looked at."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.env import Services
from mldebug.env.tools.base import Toolbox
from mldebug.env.tools.breakpoints import Breakpoint, Debugging, after_edit, debugging
from mldebug.env.workbench import Workbench
from mldebug.grader.runner import Pool
from mldebug.mutators.workspace import Workspace

from ...written import rows, task

NAMES = ("shape-glyph-2", "leakage-machine-1", "device-tabular-1", "eval-tabular-2", "zero_grad-glyph-2")


def workbench(services: Services, name: str, files: dict[str, str] | None = None) -> Workbench:
    """A fresh working copy of a task; with other sources, if any are given."""
    known = task(name)
    if files is not None:
        known = replace(known, broken=Workspace.of(files, known.broken.entrypoint))
    return Workbench(known, services, dict(known.broken.files), services.data(known))


def say(tools: Toolbox, on: Workbench, *commands: str) -> str:
    return tools.use(on, "pdb", {"commands": list(commands)})


def parts(text: str) -> list[str]:
    """What a use said, command by command; first what it said before any."""
    return [one.rstrip("\n") for one in re.split(r"^\((?:Pdb|com)\) ", text, flags=re.M)]


def line_of(on: Workbench, file: str, text: str) -> int:
    """The last line that has this text."""
    return max(at for at, line in enumerate(on.files[file].split("\n"), 1) if text in line)


def test_a_session_goes_on_into_other_files_and_into_the_crash(services: Services, tools: Toolbox) -> None:
    on = workbench(services, "shape-glyph-2")
    flatten = line_of(on, "model.py", "nn.Flatten()")
    forward = line_of(on, "model.py", "def forward") + 1
    call = line_of(on, "train.py", "preds = net(pictures[minibatch])")
    begin, first, second, stopped, where, shape = parts(
        say(tools, on, f"b model:{flatten}", "b MarkNetwork.forward", "c", "w", "p num_categories")
    )
    assert begin.startswith("> train.py(1)<module>()\n")
    assert first == f"b model:{flatten}\nBreakpoint 1 at model.py:{flatten}"
    assert second == f"b MarkNetwork.forward\nBreakpoint 2 at model.py:{forward}"
    assert stopped == f"c\n> model.py({flatten})__init__()\n-> nn.Flatten(),"
    assert re.findall(r"^[> ] (\S+?)\(\d+\)(\S+)\(\)", where, flags=re.M) == [
        ("train.py", "<module>"),
        ("train.py", "go"),
        ("model.py", "__init__"),
    ]
    assert shape == "p num_categories\n5"

    _, stopped, shape, up, net = parts(say(tools, on, "c", "p values.shape", "up", "p type(net).__name__"))
    assert stopped.startswith(f"c\n> model.py({forward})forward()")
    assert shape == "p values.shape\ntorch.Size([24, 1, 12, 12])"
    assert up.startswith(f"up\n> train.py({call})fit()") and net == "p type(net).__name__\n'MarkNetwork'"

    _, crash, up, size, again = parts(say(tools, on, "c", "up", "p len(minibatch)", "c"))
    assert "RuntimeError: running_mean should contain 8 elements not 4\n" in crash
    assert crash.startswith('c\nTraceback (most recent call last):\n  File "train.py", line ')
    assert f"> model.py({forward})forward()" in crash
    assert up.startswith(f"up\n> train.py({call})fit()") and size == "p len(minibatch)\n24"
    assert "`restart` begins anew" in again


def test_nothing_but_the_job_is_shown_where_devices_meet(services: Services, tools: Toolbox) -> None:
    on = workbench(services, "device-tabular-1")
    text = say(tools, on, "c", "w", "p object()", "p __file__", "s", "l", "p open.__module__")
    assert "The job has ended with this exception." in text and "RuntimeError" in text
    for inside in (
        "mldebug",
        "grader",
        "/work",
        "/tmp",
        "/root",
        "site-packages",
        "_driver",
        "_attach",
        "bdb",
    ):
        assert inside not in text
    assert "<object object at 0x…>" in text and "\n'train.py'\n" in text
    assert 'File "torch/nn/' in text


@pytest.mark.parametrize("name", ["leakage-machine-1", "shape-glyph-2"])
def test_a_use_tells_what_its_commands_would_tell_one_by_one(
    services: Services, tools: Toolbox, pool: Pool, name: str
) -> None:
    entry = workbench(services, name)
    loop = line_of(entry, "train.py", "backward()")
    commands = [f"tbreak {loop}", "c", "!kept = 3", "n", "w", "p kept"]
    at_once = say(tools, entry, *commands)
    fresh = Services([rows()[name]], pool=pool)  # remembers no run
    step_by_step = workbench(fresh, name)
    told = [say(tools, step_by_step, one) for one in commands]
    assert "\n".join(told) == at_once
    assert debugging(step_by_step) == debugging(entry)
    assert len(debugging(entry).commands) == len(commands)


@pytest.mark.parametrize("name", ["shape-glyph-2", "leakage-machine-1", "eval-tabular-2"])
def test_a_job_ends_under_the_debugger_as_it_ends_without(
    services: Services, tools: Toolbox, name: str
) -> None:
    on = workbench(services, name)
    alone = on.run()
    last = line_of(on, "train.py", "predictions.npz")
    condition = line_of(on, "train.py", "backward()")
    _, _, _, stopped, ended = parts(say(tools, on, f"b {last}", f"b {condition}, 1 == 2", "c", "c"))
    if alone.outcome == "ok":
        assert f"\n> train.py({last})" in stopped
        assert (stopped.split("\n> train.py")[0] + "\n" + ended).count("\n") >= alone.stdout.count("\n")
        assert alone.stdout.split("\n")[0] in stopped
        assert ended.endswith("The job has ended.")
    else:
        assert alone.stderr.strip().rpartition("\n")[2] in stopped
        assert "with this exception" in stopped


def test_breakpoints_stay_move_and_are_shown(services: Services, tools: Toolbox) -> None:
    on = workbench(services, "eval-tabular-2")
    lines = on.files["train.py"].split("\n")
    back, save = line_of(on, "train.py", "backward()"), line_of(on, "train.py", "predictions.npz")
    say(tools, on, f"b {back}, False", f"tbreak {save}", "b 30", "disable 3")
    kept = debugging(on).breakpoints
    assert kept[:2] == (Breakpoint("train.py", back, "False"), Breakpoint("train.py", save, None, True))
    assert not kept[2].enabled

    def marked() -> list[str]:
        rows = tools.use(on, "view", {"path": "train.py"}).split("\n")
        return [row.split(maxsplit=2)[2] for row in rows if row.startswith("B")]

    expected = [lines[one.line - 1].strip() for one in sorted(kept, key=lambda one: one.line)]
    assert marked() == expected
    tools.use(on, "rewrite", {"path": "train.py", "text": "# a\n# b", "start": 1, "end": 0})
    assert marked() == expected
    text = say(tools, on, "b", "c")
    assert text.startswith("The working copy was changed: the session begins anew.\n")
    assert f"The breakpoint at train.py:{back} if False is now at line {back + 2}." in text
    assert f"\n1: train.py:{back + 2} if False\n2: train.py:{save + 2} (temporary)\n3: " in text
    assert f"\n> train.py({save + 2})" in text
    assert len(debugging(on).breakpoints) == 2  # the temporary one has stopped the job
    tools.use(on, "rewrite", {"path": "train.py", "text": "", "start": back + 2})
    told = say(tools, on, "restart")
    assert f"The breakpoint at train.py:{back + 2} if False is gone: its line was removed." in told
    assert told.count("begins anew") == 2 and "(disabled)" in told
    assert say(tools, on, "p 1").startswith("> train.py(3)<module>()\n")


def test_a_restart_keeps_breakpoints_and_forgets_the_rest(services: Services, tools: Toolbox) -> None:
    on = workbench(services, "zero_grad-glyph-2")
    back = line_of(on, "train.py", "backward()")
    text = say(tools, on, f"b {back}", "c", "!epoch_seen = 5", "restart", "c", "p 'epoch_seen' in dir()")
    assert f"The session begins anew. Breakpoints: train.py:{back}." in text
    assert text.count(f"> train.py({back})") == 2 and text.endswith("False")
    assert debugging(on).commands == ("c", "p 'epoch_seen' in dir()")


TRAIN = """import sys
from torch.utils.data import DataLoader
from parts.rows import Rows
import private


def numbers(n):
    for i in range(n):
        yield i


def main():
    total = 0.0
    for batch in DataLoader(Rows(8), batch_size=4, num_workers=2):
        total += batch.sum().item()
    private.work()
    for number in numbers(2):
        print("number", number)
    breakpoint()
    print("after", total)


main()
sys.exit("bye")
"""
ROWS = """import torch


class Rows:
    def __init__(self, n):
        # how many
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return torch.tensor(float(i))
"""
PRIVATE = "def work():\n    inside = 1\n    return inside\nclass Work:\n    inside = 2\n"
FILES = {
    "train.py": TRAIN,
    "parts/rows.py": ROWS,
    "private.py": PRIVATE,
    ".debugignore": "private.py\n",
}


def test_workers_generators_hidden_files_and_the_jobs_own_breakpoint(
    services: Services, tools: Toolbox
) -> None:
    on = workbench(services, "eval-tabular-2", FILES)
    text = say(
        tools, on, "b __init__", "b __getitem__", "b private.py:2", "b work", "b numbers", "c", "args", "c"
    )
    assert "Breakpoint 1 at parts/rows.py:7" in text and "Breakpoint 2 at parts/rows.py:13" in text
    assert "there is no source 'private.py'; there are: parts/rows.py, train.py" in text
    assert "there is no function 'work'" in text
    assert "\n> parts/rows.py(7)__init__()\n" in text and "n = 8" in text
    assert "\n> train.py(8)numbers()" in text  # workers do not stop at the second, in no process
    text = say(
        tools,
        on,
        "cl",
        "c",
        "p total",
        "source private.work",
        "source private.Work",
        "source private",
        "c",
        "p 1",
        "b 1",
    )
    assert "> train.py(20)main()\n" in text and "(Pdb) p total\n28.0" in text
    assert text.count("*** this file is not shown") == 3 and "inside" not in text
    assert "after 28.0\nThe job has ended by sys.exit('bye')." in text
    assert "*** The job has ended; `restart` begins anew." in text
    assert text.endswith("Breakpoint 4 at train.py:1")
    stepped = say(tools, on, "restart", "cl", "b 16", "c", "s", "s", "s", "s")
    assert "private.py" not in stepped
    assert re.findall(r"> train.py\((\d+)\)", stepped) == ["1", "16", "17", "7", "8", "9"]


def test_places_are_found_or_refused_in_words(services: Services, tools: Toolbox) -> None:
    on = workbench(services, "eval-tabular-2", FILES)
    text = say(
        tools,
        on,
        "b 5",
        "b 999",
        "b nosuch:3",
        "b nothing",
        "b main, x >",
        "b 19 if total > 3",
        "b parts.rows:7, n == 8",
        "cl nosuch:1",
        "cl 7",
        "cl parts/rows.py:7",
        "b",
        "interact",
        "debug 1",
        "c = 3",
        "p c",
    )
    answers = [one.partition("\n")[2] for one in parts(text)[1:]]
    assert answers[:4] == [
        "Breakpoint 1 at train.py:7 (line 5 holds no code)",
        "*** train.py has lines 1 to 24",
        "*** there is no source 'nosuch'; there are: parts/rows.py, train.py",
        "*** there is no function 'nothing' in train.py, parts/rows.py",
    ]
    assert answers[4].startswith("*** invalid syntax")
    assert answers[5:7] == [
        "Breakpoint 2 at train.py:19 if total > 3",
        "Breakpoint 3 at parts/rows.py:7 if n == 8",
    ]
    assert answers[7].startswith("*** there is no source 'nosuch'")
    assert answers[8] == "*** Breakpoint number 7 out of range"
    assert answers[9] == "Breakpoint 3 is deleted."
    assert answers[10] == "1: train.py:7\n2: train.py:19 if total > 3"
    assert answers[11].startswith("*** interact: ") and answers[12].startswith("*** debug: ")
    assert answers[14] == "3"


def test_commands_of_a_breakpoint_and_display(services: Services, tools: Toolbox) -> None:
    on = workbench(services, "zero_grad-glyph-2")
    back = line_of(on, "train.py", "backward()")
    text = say(
        tools, on, f"b {back}", "commands 1", "silent", "p 'here'", "c", f"tbreak {back + 1}", "c", "c"
    )
    assert "(com) silent" in text or "(Pdb) silent" in text
    assert text.count("'here'") >= 3


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = (\n", "SyntaxError: '(' was never closed\nThe job has ended with this exception, outside"),
        ("def f(n):\n    return f(n + 1)\nf(0)\n", "\nRecursionError: maximum recursion depth exceeded"),
        (
            "class Bad(Exception):\n    def __str__(self):\n        raise ValueError\nraise Bad\n",
            "\nBad: <exception str() failed>\n",
        ),
        ("raise KeyboardInterrupt\n", "\nKeyboardInterrupt\nThe job has ended with this exception."),
        ("try:\n    1 / 0\nexcept Exception as e:\n    raise ValueError from e\n", "direct cause"),
        ("pass\n", "(Pdb) c\nThe job has ended."),
    ],
)
def test_ends_of_many_kinds(services: Services, tools: Toolbox, source: str, expected: str) -> None:
    on = workbench(services, "eval-tabular-2", {"train.py": source})
    text = say(tools, on, "c", "p 1 + 1")
    assert expected in text and 'Traceback (most recent call last):\n  File "_' not in text
    assert "bdb.py" not in text and "pdb.py" not in text


LINES = st.lists(st.integers(0, 10_000), unique=True, max_size=30).map(
    lambda numbers: [f"line {one}\n" for one in numbers]
)


@given(LINES, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 3)), max_size=4))
def test_a_breakpoint_goes_where_its_line_goes(before: list[str], edits: list[tuple[int, int, int]]) -> None:
    after = list(before)
    for number, (at, gone, new) in enumerate(edits):
        after[at : at + gone] = [f"new {number} {one}\n" for one in range(new)]
    session = Debugging(breakpoints=tuple(Breakpoint("t.py", at + 1) for at in range(len(before))))
    session = replace(session, breakpoints=(*session.breakpoints, Breakpoint("u.py", 3)))
    moved = after_edit(session, "t.py", "".join(before), "".join(after))
    places = {after[one.line - 1] for one in moved.breakpoints if one.file == "t.py"}
    assert places >= set(before) & set(after)
    assert Breakpoint("u.py", 3) in moved.breakpoints
    assert moved.began_with == moved.breakpoints and not moved.commands


def test_nothing_of_a_session_depends_on_this_process(services: Services, tools: Toolbox) -> None:
    """A session is its commands: copied to another working copy of the task, it goes on there."""
    one, other = (workbench(services, "leakage-machine-1") for _ in range(2))
    loop = line_of(one, "train.py", "backward()")
    say(tools, one, f"b {loop}", "c", "c")
    other.notes = dict(one.notes)
    assert say(tools, one, "w", "args") == say(tools, other, "w", "args")
    assert json.dumps(debugging(one).commands) == json.dumps(debugging(other).commands)
