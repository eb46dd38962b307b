"""What a task's difficulty is read from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mldebug.grader.traits import traits
from mldebug.mutators.workspace import Edit, Workspace, splice

REFERENCE = {
    "train.py": "import model\n\na = 1\nb = 2\nc = 3\nmodel.run(a)\n",
    "model.py": "def run(x):\n    return x + 1\n",
}


def ran(*frames: tuple[str, int], final: dict[str, float] | None = None) -> Any:
    exception = {"frames": [{"file": file, "line": line, "function": "f"} for file, line in frames]}
    return SimpleNamespace(
        finished=not frames, exception=exception if frames else None, final=final or {}, metric=0.5
    )


def broken(*edits: Edit) -> dict[str, str]:
    return dict(splice(Workspace.of(REFERENCE, "train.py"), tuple(sorted(edits))).files)


def edit(old: str, new: str) -> Edit:
    start = REFERENCE["train.py"].index(old)
    return Edit("train.py", start, start + len(old), new)


def test_a_crash_is_measured_from_where_it_shows() -> None:
    first, second = edit("a = 1\n", "a = 1\na = a\na = a\n"), edit("c = 3", "c = 4")
    files = broken(first, second)
    found = traits(ran(("train.py", 8), ("torch/nn.py", 3)), files, REFERENCE, [[first], [second]], 2)
    assert (found.symptom, found.shown_at, found.lines_apart, found.modules_apart) == (
        "crash",
        "train.py:8",
        1,
        0,
    )
    assert (found.bugs, found.changed_lines, found.distractors) == (2, 4, 2)


def test_a_crash_in_another_module_than_the_cause() -> None:
    one = edit("a = 1", "a = None")
    found = traits(ran(("train.py", 6), ("model.py", 2)), broken(one), REFERENCE, [[one]], 0)
    assert (found.shown_at, found.lines_apart, found.modules_apart) == ("model.py:2", None, 1)
    assert found.changed_lines == 2


@pytest.mark.parametrize(("value", "symptom"), [(0.5, "silent"), (float("nan"), "not finite")])
def test_what_finishes_is_silent_or_not_finite(value: float, symptom: str) -> None:
    one = edit("b = 2", "b = 3")
    found = traits(ran(final={"loss": value}), broken(one), REFERENCE, [[one]], 0)
    assert (found.symptom, found.shown_at, found.lines_apart) == (symptom, None, None)
