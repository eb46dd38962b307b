"""The documents of the environment say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mldebug.env.tools.base import Tool, registered
from mldebug.task_folder import TOOLS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "environment.md").read_text("utf-8")

SEED, GYM = "first seed", "debug-gym"
FROM = {
    **dict.fromkeys(("run_code", "get_traceback", "inspect_gradients", "print_shapes", "view_source"), SEED),
    **dict.fromkeys(("listdir", "view", "grep", "rewrite", "eval", "pdb", "submit"), GYM),
}


def table() -> str:
    rows = ["| tool | parameters | what it tells | as in |", "| --- | --- | --- | --- |"]
    for name, tool in sorted(registered().items()):
        rows.append(f"| `{name}` | {takes(tool)} | {tool.description} | {FROM.get(name, '')} |")
    return "\n".join(rows)


def takes(tool: Tool) -> str:
    return ", ".join(f"`{one.name}`" + ("" if one.required else "?") for one in tool.parameters)


def test_the_table_of_tools_is_the_registrys() -> None:
    assert set(registered()) == set(TOOLS)
    assert table() in DOCUMENT, table()


def test_every_feature_of_both_seeds_names_a_test_that_is_there() -> None:
    features = DOCUMENT.split("## What both seeds had")[1]
    lines = [line for line in features.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(lines) >= 30
    for line in lines:
        places = re.findall(r"`(tests/[^`]+)`", line)
        assert places or "not here:" in line, line
        for place in places:
            file, _, name = place.partition("::")
            assert (ROOT / file).is_file(), line
            if name:
                assert f"def {name}(" in (ROOT / file).read_text("utf-8"), line


@pytest.mark.parametrize("name", ["openenv.md", "trl.md", "harnesses.md"])
def test_the_documents_it_names_are_there(name: str) -> None:
    assert f"docs/{name}" in DOCUMENT and (ROOT / "docs" / name).is_file()
