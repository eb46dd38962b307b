"""A person at a terminal: typed tools, completion, an editor, and what is shown at the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mldebug.env.models import Inspect
from mldebug.env.terminal import difference, plain, source
from mldebug.env.tools.base import checked, registered
from mldebug.env.typed import Mistyped, split, typed, usage
from mldebug.task_folder import row_files

from ..written import rows

COPY = """
import pathlib, sys
target = pathlib.Path(sys.argv[2])
target.write_text((pathlib.Path(sys.argv[1]) / target.name).read_text())
"""
"""An editor that replaces a file by the reference's."""


def folder_of(name: str, base: Path) -> Path:
    id, files = row_files(rows()[name])
    for path, content in files.items():
        place = base / id / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return base / id


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def surroundings(folder: Path) -> dict[str, str]:
    editor = folder.parent / "copy.py"
    editor.write_text(COPY)
    own = {"EDITOR": f"{sys.executable} {editor} {folder / 'solution' / 'reference'}", "TERM": "xterm"}
    return {name: value for name, value in os.environ.items() if name not in ("VISUAL", "NO_COLOR")} | own


class NotShown(AssertionError):
    """The terminal did not show in time what it should."""


class Typist:
    """Types into a pseudo-terminal and reads what it shows."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.process = process
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def see(self, text: str, patience: float = 120.0) -> str:
        """Wait for a text, past what was seen before; what was shown until then, without colours."""
        found, end = "", time.monotonic() + patience
        while text not in (found := found + self._read(end)):
            if time.monotonic() >= end:
                raise NotShown(f"{text!r}, but: {found!r}")
        return found

    def interrupt(self, text: str) -> str:
        """Type Ctrl-C until a text is shown. CPython forgets one that comes between two of readline's reads
        until the next key is struck (Modules/readline.c sees signals only where select() was disturbed)."""
        for _ in range(10):
            self.type("\x03")
            try:
                return self.see(text, 10.0)
            except NotShown:
                continue
        raise NotShown(f"{text!r} after ten times Ctrl-C")

    def _read(self, end: float) -> str:
        ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return ""
        try:
            raw = os.read(self._master, 65536).decode("utf-8", "replace")
        except OSError:  # everybody at the other end is gone
            raise AssertionError(f"it ended, after: {self.shown[-2000:]!r}") from None
        self.shown += raw
        return re.sub("[\r\x07]", "", click.unstyle(raw))

    def left(self) -> int:
        """The exit code, after the rest was read."""
        while True:
            try:
                self._read(time.monotonic() + 60)
            except AssertionError:
                return self.process.wait(60)


def _own_terminal() -> None:
    """In the child: a terminal of its own, whose Ctrl-C it hears (background jobs ignore it)."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def typist(folder: Path, **more: str) -> Iterator[Typist]:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mldebug.cli", "play", str(folder)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=_own_terminal,
        env=surroundings(folder) | more,
    )
    os.close(slave)
    try:
        yield Typist(master, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_a_person_solves_a_task(tmp_path: Path) -> None:
    folder = folder_of("device-shape-tabular-1", tmp_path)
    before = tree(folder)
    with typist(folder) as person:
        briefing = person.see("[5 steps left]> ")
        assert rows()["device-shape-tabular-1"]["alert"] in briefing
        person.type("run_c\t")
        person.see("run_code ")
        person.type("\n")
        assert "exit code 1" in person.see("[4 steps left]> ")
        person.type("trace train.py nine x\n")
        assert "must be a number" in person.see("[4 steps left]> ")
        person.type("ed\ttr\t\n")
        assert "+++ b/train.py" in person.see("[4 steps left]> ")
        person.type("submit shape\n")
        person.see("Hand this in? [y/N] ")
        person.type("yes\n")
        assert "The repaired job was run: " in person.see("[3 steps left]> ")
        person.type("submit sh\t,wr\t left on the CPU, and too wide\n")
        asked = person.see("Hand this in? [y/N] ")
        assert "submit shape,wrong_device left" in asked and "\n-    " in asked
        person.type("y\n")
        end = person.see("The fix (broken → reference):")
        assert person.left() == 0
    assert "▶ 0.99" in end and "× 1.1 for its early step" in end
    for bug in ("shape_mismatch", "wrong_device"):
        assert re.search(rf"{bug}: gone\n +train.py:\d+ in ", end), end
    assert "\033[1m" in person.shown
    assert "\033[32m+" in person.shown and "--- a/train.py" in click.unstyle(person.shown)
    assert tree(folder) == before


def test_ctrl_d_leaves_cleanly(tmp_path: Path) -> None:
    folder = folder_of("leakage-glyph-1", tmp_path)
    before = tree(folder)
    with typist(folder) as person:
        person.see("[5 steps left]> ")
        person.type("tra\tmo\t 9000 x\n")
        refused = person.see("[4 steps left]> ")
        assert "trace model.py 9000 x" in refused and "refused: " in refused
        person.type("submit data_l\t,ev\t wrong eyes\n")
        asked = person.see("Hand this in? [y/N] ")
        assert "submit data_leakage,eval wrong eyes" in asked and "unchanged" in asked
        person.type("n\n")
        person.see("[4 steps left]> ")
        person.type("\x04")
        person.see("You left at step 1 of 5.")
        assert person.left() == 0
    assert tree(folder) == before
    assert "Traceback" not in person.shown and "gone" not in person.shown


def test_ctrl_c_leaves_cleanly_and_no_colour_is_respected(tmp_path: Path) -> None:
    folder = folder_of("shape-machine-1", tmp_path)
    with typist(folder, NO_COLOR="1") as person:
        person.see("[5 steps left]> ")
        person.type("view_source\n")
        person.see("[4 steps left]> ")
        person.type("half a li")
        person.see("half a li")
        person.interrupt("Interrupted.")
        assert person.left() == 130
    assert "Traceback" not in person.shown
    assert not re.search(r"\033\[[\d;]*m", person.shown)


def piped(folder: Path, typed: bytes, **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "mldebug.cli", "play", str(folder)],
        input=typed,
        capture_output=True,
        env=surroundings(folder) | more,
        timeout=300,
        check=False,
    )


def test_a_script_may_type(tmp_path: Path) -> None:
    folder = folder_of("eval-tabular-2", tmp_path)
    lines = [
        *(b"help", b"", b"\xff\xfe\x1b[2J", b"view_source 'a", b"edit data/train.npz", b"edit /etc/passwd"),
        *(b"diff", b"submit", b"submit eval,eval", b"submit evil", b"submit shape no idea", b"n"),
        *(b"view_source",) * 5,
    ]
    done = piped(folder, b"\n".join(lines))
    text = done.stdout.decode()
    assert done.returncode == 1 and done.stderr == b""
    assert "\033" not in text
    for said in ("there is no command", "No closing quotation", "data/train.npz may not", "unusable path"):
        assert said in text
    for said in ("name the classes", "asked for twice", "unknown bug class 'evil'"):
        assert said in text
    assert "[1 step left]> view_source" in text and "No fix was handed in." in text
    assert "Score 0.000" in text and "▶" not in text and "\nmissing_eval_mode\n" in text


def test_a_failing_editor_changes_nothing_and_the_end_of_input_leaves(tmp_path: Path) -> None:
    folder = folder_of("eval-tabular-2", tmp_path)
    done = piped(folder, b"edit\nview_source\nsubmit eval", EDITOR="false")
    text = done.stdout.decode()
    assert done.returncode == 0 and done.stderr == b""
    assert "failed (exit code 1): nothing is changed" in text
    assert "The working copy is unchanged." in text
    assert text.endswith("You left at step 1 of 5. Nothing is kept.\n")


def test_a_folder_that_holds_no_proved_task_is_refused(tmp_path: Path) -> None:
    folder = folder_of("eval-tabular-2", tmp_path)
    record = folder / "task.json"
    record.write_text(re.sub(r'"alert": ".*"', '"alert": null', record.read_text()))
    for place, message in ((folder, b"never executed"), (tmp_path / "none", b"cannot be read")):
        done = piped(place, b"")
        assert done.returncode == 2 and message in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", sorted(set(registered()) - {"submit"}))
def test_every_registered_tool_can_be_typed(name: str) -> None:
    """In the order of its parameters, and by name."""
    tool = registered()[name]
    examples: dict[Any, tuple[str, Any]] = {
        str: ("'two words'", "two words"),
        int: ("-7", -7),
        bool: ("no", False),
        list: ("'p x'  c", ["p x", "c"]),
    }
    values = {one.name: examples[one.kind][1] for one in tool.parameters}
    by_name = " ".join(
        " ".join(f"{one.name}={word}" for word in examples[one.kind][0].split("  "))
        for one in tool.parameters
    )
    schema = tool.schema()
    assert typed(schema, split(by_name)) == values == checked(tool, values)
    lists = [place for place, one in enumerate(tool.parameters) if one.kind is list]
    ordered = tool.parameters[: lists[0] + 1] if lists else tool.parameters
    line = " ".join(examples[one.kind][0] for one in ordered)
    rest = {one.name: values[one.name] for one in ordered}
    if all(one in ordered or not one.required for one in tool.parameters):
        assert typed(schema, split(line)) == rest
    for one in tool.parameters:
        assert one.name.upper() in usage(schema)
        if one.required:
            with pytest.raises(Mistyped, match="missing"):
                typed(schema, [])
    assert Inspect(name, typed(schema, split(by_name))).arguments == values


def test_what_is_typed_keeps_its_backslashes() -> None:
    assert split(r"\bstep\( 'a \n b' # c") == [r"\bstep\(", r"a \n b", "#", "c"]


@given(st.text())
def test_colours_change_no_text(text: str) -> None:
    shown = plain(text)
    assert click.unstyle(source(shown)) == shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    assert (difference({"a": text}, {"a": text}), difference({}, {})) == ("", "")


def test_a_difference_shows_new_files_and_lost_line_ends() -> None:
    shown = click.unstyle(difference({"a": "x"}, {"a": "y", "b": "z\n"}))
    assert shown.splitlines()[3:5] == ["-x", "+y"] and "+z" in shown and "+++ b/b" in shown
