"""A person's terminal: asking with completion, saying in colour where there is one to say it to."""

from __future__ import annotations

import difflib
import keyword
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType

import click

from ..errors import UsageError

try:
    import readline as _readline
except ImportError:  # a Python that was built without it: lines are read as they come
    _readline = None  # type: ignore[assignment]

DELIMITERS = " \t,"
"""Between the words that are completed."""
LONGEST_SOURCE = 1 << 20
"""Characters of a file that an editor may leave."""

_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SOURCE = re.compile(
    r"(?P<comment>\#[^\n]*)"
    r"|(?P<text>(?i:\b[rbfu]{1,2})?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))"
    rf"|(?P<word>\b(?:{'|'.join(keyword.kwlist)})\b)"
    r"|(?P<number>\b\d[\w.]*)",
    re.DOTALL,
)
_COLOURS = {"comment": "bright_black", "text": "green", "word": "magenta", "number": "cyan"}


class Terminal:
    """Standard input and output. complete: what may stand at the end of a line that begins so."""

    def __init__(self, complete: Callable[[str], Collection[str]]) -> None:
        for stream in (sys.stdin, sys.stdout):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._readline: ModuleType | None = _readline if self.interactive else None
        self._complete = complete

    def say(self, text: str = "") -> None:
        """Print; colours are left out where nobody would see them."""
        click.echo(text, color=self.colour)

    def ask(self, prompt: str) -> str:
        """One line, without what surrounds it. Where nobody types, the line is printed after its prompt.

        Raises:
            EOFError, KeyboardInterrupt: nothing more will be typed.
        """
        if not self.interactive:
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            self.say(plain(prompt + line.strip()))
            return line.strip()
        if self._readline is None:
            return input(prompt).strip()
        self._readline.set_completer(self._completion)
        self._readline.set_completer_delims(DELIMITERS)
        self._readline.parse_and_bind(
            "bind ^I rl_complete" if "libedit" in (self._readline.__doc__ or "") else "tab: complete"
        )
        try:  # what takes no room on the screen is marked, so that long lines wrap where they should
            return input(f"\001\033[1m\002{prompt}\001\033[0m\002" if self.colour else prompt).strip()
        finally:
            self._readline.set_completer(None)

    def _completion(self, begun: str, state: int) -> str | None:
        assert self._readline is not None
        before = self._readline.get_line_buffer()[: self._readline.get_begidx()]
        found = sorted({one for one in self._complete(before) if one.startswith(begun)})
        return found[state] if state < len(found) else None

    def edit(self, name: str, text: str) -> str:
        """What an editor (`VISUAL`, `EDITOR`, else vi) makes of a text; name: of the file it is shown as.

        Raises:
            UsageError: there is no such editor, it failed, or what it left is no text.
        """
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        with tempfile.TemporaryDirectory(prefix="mldebug-edit-") as folder:
            path = Path(folder) / Path(name).name
            path.write_text(text, "utf-8", errors="replace", newline="")
            before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is the editor's
            try:
                done = subprocess.run(
                    [*shlex.split(editor), str(path)],
                    check=False,
                    stdin=None if self.interactive else subprocess.DEVNULL,
                )
                with path.open("rb") as file:
                    content = file.read(4 * LONGEST_SOURCE + 1)
            except (OSError, ValueError) as error:
                raise UsageError(f"the editor {editor!r} cannot be used ({error}); set EDITOR") from None
            finally:
                signal.signal(signal.SIGINT, before)
        if done.returncode:
            raise UsageError(
                f"the editor {editor!r} failed (exit code {done.returncode}): nothing is changed"
            )
        try:
            changed = content.decode("utf-8")
        except UnicodeDecodeError:
            raise UsageError("what the editor left is not UTF-8: nothing is changed") from None
        if len(changed) > LONGEST_SOURCE:
            raise UsageError(f"what the editor left is longer than {LONGEST_SOURCE} characters")
        return changed


def plain(text: str) -> str:
    """The text without what would steer a terminal: sources and output come from others."""
    return _UNSHOWN.sub("�", text)


def source(text: str) -> str:
    """Python source, coloured by a simple rule."""
    return _SOURCE.sub(lambda found: click.style(found[0], fg=_COLOURS[found.lastgroup or "text"]), text)


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """A coloured unified diff of two sets of files; empty where they are equal."""
    lines: list[str] = []
    for name in sorted(set(before) | set(after)):
        old, new = (plain(files.get(name, "")).splitlines() for files in (before, after))
        for line in difflib.unified_diff(old, new, f"a/{plain(name)}", f"b/{plain(name)}", lineterm=""):
            if line.startswith(("---", "+++")):
                lines.append(click.style(line, bold=True))
            else:
                colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
                lines.append(click.style(line, fg=colour))
    return "\n".join(lines)
