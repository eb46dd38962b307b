"""The README says what is so: its commands run, its table is the registry's."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mldebug.mutators.base import all_mutators

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def bug_table() -> str:
    """The table of bug classes, as the registry has it."""
    rows = ["| class | short | ways it shows |", "| --- | --- | --- |"]
    for one in all_mutators():
        ways = ", ".join(way.name.replace("_", " ") for way in one.manifestations)
        rows.append(f"| `{one.bug_class}` | `{one.short}` | {ways} |")
    return "\n".join(rows)


def test_the_table_of_bug_classes_is_the_registrys() -> None:
    assert bug_table() in README, bug_table()


def test_the_commands_run(tmp_path: Path) -> None:
    block = README.split("## Commands")[1].split("```")[0]
    commands = re.findall(r"^    (mldebug[^#\n]*)", block, re.MULTILINE)
    assert len(commands) >= 4
    for line in commands:
        program, *arguments = shlex.split(line.strip().replace("--count 100 ", "--count 10 "))
        if "<id>" in line:
            task = next(tmp_path.glob("tasks/*/task.json")).parent
            arguments = [one.replace("tasks/<id>", str(task)) for one in arguments]
            shutil.copytree(task / "solution" / "reference", tmp_path / "fixed", dirs_exist_ok=True)
        done = subprocess.run(
            [Path(sys.executable).parent / program, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout
        if "--jsonl" in line:
            (tmp_path / "rows.jsonl").write_text(done.stdout)


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_python_examples_run(example: str) -> None:
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_documents_it_names_are_there() -> None:
    for name in re.findall(r"`((?:docs/)[\w./-]+|CHANGELOG\.md)`", README):
        assert (ROOT / name).exists(), name
