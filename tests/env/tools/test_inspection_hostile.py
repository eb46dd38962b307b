"""Tools that attach something to a run: jobs that crash, vanish, hang or forge, and real tasks."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mldebug.env.workbench
from mldebug.env import Services
from mldebug.env.tools.base import MOST_CHARACTERS, registered, shortened, toolbox
from mldebug.env.tools.reports import NOTHING, UNFINISHED, Inspection
from mldebug.env.workbench import Driven, Workbench
from mldebug.grader.runner import Pool
from mldebug.mutators.base import bug_classes

from ...written import rows, task

NAMES = ("shape-glyph-2", "eval-machine-1", "eval-tabular-2")
ARGUMENTS: dict[str, dict[str, Any]] = {
    "get_traceback": {},
    "inspect_gradients": {"steps": 4},
    "print_shapes": {},
    "inspect_data": {},
    "inspect_optimizer": {},
    "repeat_eval": {},
    "trace": {"file": "train.py", "line": 1, "expressions": ["1 + 1"], "hits": 5},
}


def workbench(services: Services, job: str | None = None, name: str = "eval-machine-1") -> Workbench:
    known = task(name)
    files = dict(known.broken.files) if job is None else {"train.py": job}
    return Workbench(known, services, files, services.data(known))


def used(on: Workbench, tool: str) -> str:
    text = toolbox().use(on, tool, ARGUMENTS[tool])
    assert len(text) < MOST_CHARACTERS
    assert not re.search(r"_attach|_driver|_watch|_describe|/tmp|/root|0x[0-9a-f]{6}", text), text
    return text


def looked_at(bench: Workbench) -> None:
    """Use every tool on a real task: each says something, and none names a class."""
    texts = {tool: used(bench, tool) for tool in ARGUMENTS}
    assert all(text.count("\n") for tool, text in texts.items() if tool != "trace")
    for text in texts.values():
        assert NOTHING not in text and "could not be looked at" not in text
        assert not any(bug in text for bug in bug_classes())
    plain = bench.run()
    if plain.outcome == "error":
        assert texts["get_traceback"].partition("\n")[2] == shortened(plain.stderr.strip())
    else:
        assert "It did not crash" in texts["get_traceback"]


@pytest.mark.parametrize("name", NAMES)
def test_every_tool_works_on_every_job_and_device(services: Services, name: str) -> None:
    looked_at(workbench(services, name=name))


@pytest.mark.deep
def test_every_tool_on_every_pinned_task(pool: Pool, evidence: Callable[[str, dict[str, Any]], None]) -> None:
    everything = Services(rows().values(), pool=pool)
    changed = []
    for name in rows():
        bench = workbench(everything, name=name)
        looked_at(bench)
        plain = bench.run()
        for driver in ("crash", "shapes", "optimizer", "batches", "repeat"):
            result = bench.drive(driver).result
            if (result.stdout, result.stderr) != (plain.stdout, plain.stderr):
                changed.append(f"{name} {driver}")
    evidence("inspections", {"tasks": len(rows()), "tools": len(ARGUMENTS), "output_changed": changed})
    assert not changed


JOBS = {
    "syntax": "import torch\ndef f(:\n    pass\n",
    "early": "def go():\n    return [1][3]\ngo()\n",
    "exit": "import sys\nsys.exit('no data')\n",
    "nothing": "pass\n",
    "str_raises": "class X(Exception):\n    def __str__(self):\n        raise X\nraise X\n",
    "recursion": "def f():\n    return f()\nf()\n",
    "removes": "import os\n[os.remove(one) for one in os.listdir() if one.endswith('.py')]\n",
    "folder": "import os\nos.remove('_report.json')\nos.mkdir('_report.json')\n",
    "fifo": "import os\nos.remove('_report.json')\nos.mkfifo('_report.json.new')\nos._exit(0)\n",
    "huge": "import os\nopen('_report.json', 'w').write('[' * 100_000)\nos.abort()\n",
    "numbers": "import os\nopen('_report.json', 'w').write('[' + '9' * 5000 + ']')\nos.abort()\n",
    "breaks_json": "import json\njson.dumps = None\n",
}


@pytest.mark.parametrize("job", JOBS)
def test_jobs_that_end_in_odd_ways(services: Services, job: str) -> None:
    bench = workbench(services, JOBS[job])
    for tool in ("get_traceback", "print_shapes", "inspect_optimizer", "trace"):
        assert used(bench, tool).startswith(("The job", "Line 1"))
    if job == "syntax":
        assert "SyntaxError: invalid syntax (at train.py:2)" in used(bench, "print_shapes")
        assert used(bench, "get_traceback").endswith("SyntaxError: invalid syntax")
        assert "Traceback" not in used(bench, "get_traceback")
    elif job == "early":
        assert "It raised IndexError: list index out of range (at train.py:2 in go)" in used(bench, "trace")
        assert used(bench, "get_traceback").partition("\n")[2] == shortened(bench.run().stderr.strip())
    elif job == "exit":
        assert "It called sys.exit with 'no data'." in used(bench, "print_shapes")
    elif job == "breaks_json":
        assert "No forward pass" in used(bench, "print_shapes") and UNFINISHED not in used(
            bench, "print_shapes"
        )
    elif job == "recursion":
        assert used(bench, "get_traceback").endswith("RecursionError: maximum recursion depth exceeded")


SEEN = """\
import os
import torch

model = torch.nn.Sequential(torch.nn.Linear(3, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(torch.ones(4, 3)), torch.zeros(4, 2)).backward()
    optimizer.step()
with torch.no_grad():
    model(torch.ones(5, 3))
"""
EXPECTED = {
    "inspect_gradients": "0.weight",
    "print_shapes": "0 (Linear): (4, 3) float32 -> (4, 2) float32",
    "inspect_data": "input: (4, 3) float32 ×2",
    "inspect_optimizer": "SGD: 2 steps, 2 zero_grad calls",
    "repeat_eval": "1 call, the first with (5, 3) float32",
}


def test_the_same_run_is_told_the_same_way(services: Services, pool: Pool) -> None:
    again = Services((rows()[name] for name in NAMES), pool=pool)
    for tool in ARGUMENTS:
        assert used(workbench(services, SEEN), tool) == used(workbench(again, SEEN), tool)


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_what_was_seen_survives_a_sudden_end(services: Services, end: str) -> None:
    bench = workbench(services, SEEN + end + "\n")
    for tool, expected in EXPECTED.items():
        text = used(bench, tool)
        assert UNFINISHED in text and expected in text, text
    assert "the process ended without an exception" in used(bench, "get_traceback")


def test_what_was_seen_survives_the_time_limit(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(mldebug.env.workbench.LIMITS, wall_seconds=2.0)
    monkeypatch.setattr(mldebug.env.workbench, "LIMITS", short)
    bench = workbench(services, SEEN + "while True:\n    pass\n")
    for tool in ("print_shapes", "inspect_optimizer"):
        text = used(bench, tool)
        assert text.startswith("The job was stopped: it did not finish") and EXPECTED[tool] in text
    # an expression that never ends is one of the job's ways to hang
    asked = ARGUMENTS["trace"] | {"expressions": ["[None for _ in iter(int, 1)]"], "line": 4}
    text = toolbox().use(bench, "trace", asked)
    assert "reached 1 time" in text and "(was being evaluated)" in text


def test_threads_and_loader_workers_are_seen_once(services: Services) -> None:
    job = """\
import threading
import torch
from torch import nn

class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        return nn.Linear(3, 3)(torch.ones(3)).detach()

def train():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in torch.utils.data.DataLoader(Rows(), batch_size=4, num_workers=1):
        model(batch).sum().backward()
        optimizer.step()

threading.Thread(target=train).start()
"""
    bench = workbench(services, job)
    assert "SGD: 2 steps" in used(bench, "inspect_optimizer")
    assert "2 calls, 8 rows" in used(bench, "inspect_data")
    assert UNFINISHED not in used(bench, "print_shapes")


@pytest.fixture(scope="module")
def genuine(services: Services) -> dict[str, Driven]:
    """A real report of each driver."""
    bench = workbench(services, SEEN + "model(torch.ones(4, 4))\n")
    found = {}
    for name, tool in registered().items():
        if isinstance(tool, Inspection) and name in ARGUMENTS:
            found[name] = bench.drive(
                tool.driver, **ARGUMENTS[name] | ({"longest": 100} if name == "trace" else {})
            )
            assert found[name].report is not None
    return found


def places_in(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from places_in(one, (*here, key))


def exchanged(report: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    report = copy.deepcopy(report)
    target = report
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return report


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(1 << 60), "nan", "\x00\x1b[2J", "x" * 30_000, [[[]]] * 2000])
    | st.floats()
    | st.text(max_size=20)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda deeper: st.lists(deeper, max_size=4) | st.dictionaries(st.text(max_size=8), deeper, max_size=4),
)


@pytest.mark.parametrize("name", ARGUMENTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_forged_reports_are_text_like_any_other(
    genuine: dict[str, Driven], name: str, data: st.DataObject
) -> None:
    tool, real = registered()[name], genuine[name]
    assert isinstance(tool, Inspection)
    report = real.report
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places_in(report))))
        report = exchanged(report, place, data.draw(ANYTHING))
    text = tool.told(replace(real, report=report), **ARGUMENTS[name] | {"longest": 100})
    assert isinstance(text, str) and text.startswith(("The job", "Line 1")) and shortened(text)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_no_report_is_said_to_be_none(genuine: dict[str, Driven], name: str) -> None:
    tool = registered()[name]
    assert isinstance(tool, Inspection)
    for report in (None, [], "x", {}, {"final": 1}, {"faults": 3}):
        text = tool.told(replace(genuine[name], report=report), **ARGUMENTS[name] | {"longest": 100})
        assert text.startswith("The job ended with exit code 1.")
        assert report == {} or NOTHING in text or (name == "get_traceback" and report == {"faults": 3})
