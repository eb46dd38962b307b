"""Tools of other packages, and what a registry refuses."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from mldebug.env import DebugEnv, Services
from mldebug.env.tools import base
from mldebug.env.tools.base import Parameter, Tool, checked, registered, shortened
from mldebug.env.workbench import Workbench
from mldebug.errors import UsageError
from mldebug.grader.runner import Pool

from ...written import rows


class CountLines(Tool):
    name = "count_lines"
    description = "How many lines the sources have."
    parameters = (Parameter("least", int, "files with fewer are left out", default=0),)

    def use(self, workbench: Workbench, least: int) -> str:
        found = {path: text.count("\n") for path, text in workbench.visible_files().items()}
        return "\n".join(f"{path}: {count}" for path, count in found.items() if count >= least)

    def on_edit(self, workbench: Workbench, path: str, before: str, after: str) -> None:
        workbench.notes.setdefault(self.name, []).append(path)


class Twice(CountLines):
    name = "run_code"


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of this module's classes that the entry points announce."""
    names: list[str] = []

    class Entry:
        def __init__(self, name: str) -> None:
            self.value = f"elsewhere:{name}"

        def load(self) -> Any:
            return globals()[self.value.split(":")[1]]

    def entry_points(*, group: str) -> list[Any]:
        assert group == "mldebug.tools"
        return [Entry(name) for name in names]

    assert hasattr(EntryPoint, "load")
    monkeypatch.setattr(metadata, "entry_points", entry_points)
    registered.cache_clear()
    yield names
    registered.cache_clear()


def test_a_tool_of_another_package_is_used_like_any_other(announced: list[str], pool: Pool) -> None:
    announced.append("CountLines")
    env = DebugEnv(Services([rows()["eval-tabular-2"]], pool=pool))
    assert "count_lines" in env.reset(seed=1).tools
    seen = env.step({"type": "inspect", "tool": "count_lines", "arguments": {"least": 1}})
    assert seen.text.startswith("train.py: ") and not seen.refused
    env.step({"type": "inspect", "tool": "rewrite", "arguments": {"path": "new.py", "text": "x = 1\n"}})
    seen = env.step({"type": "inspect", "tool": "count_lines"})
    assert "new.py: 1" in seen.text
    assert env.step({"type": "inspect", "tool": "count_lines", "arguments": {"least": "1"}}).refused


def test_two_tools_of_one_name_and_what_is_no_tool_are_refused(announced: list[str]) -> None:
    announced.append("Twice")
    with pytest.raises(UsageError, match="two tools"):
        registered()
    announced[:] = ["Workbench"]
    with pytest.raises(UsageError, match="no subclass of Tool"):
        registered()
    announced[:] = ["nothing"]
    with pytest.raises(UsageError, match="cannot be loaded"):
        registered()


def test_arguments_are_checked() -> None:
    tool = CountLines()
    assert checked(tool, {}) == {"least": 0} and checked(tool, {"least": 3}) == {"least": 3}
    for wrong in ({"least": True}, {"least": 1.0}, {"least": 1 << 40}, {"most": 1}):
        with pytest.raises(base.ActionRefused):
            checked(tool, wrong)


def test_text_is_shortened_and_tells_nothing_of_the_machine() -> None:
    assert shortened("z" * 100, 50).count("z") == 50
    assert shortened("x\x1b[31m\r\ny") == "x�[31m\ny"
    shown = shortened(
        'File "/home/me/.venv/lib/python3.12/site-packages/torch/nn.py" and /tmp/r-1/workspace/a.py'
    )
    assert shown == 'File "/site-packages/torch/nn.py" and /workspace/a.py'
