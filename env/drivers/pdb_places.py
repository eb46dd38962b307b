"""Where a breakpoint can stand: lines and functions of the job's sources."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterator
from types import CodeType

from .attach import FOLDER

NEW_LOCALS = 2
"""The flag of code that is a function's."""


class Places:
    """files: sources that are debugged, relative to the workspace."""

    def __init__(self, files: list[str]) -> None:
        self.files = files
        self._own = {path_of(one): one for one in files}
        self._names: dict[str, str | None] = {}
        self._lines: dict[CodeType, frozenset[int]] = {}

    def file_of(self, code: CodeType) -> str | None:
        """The source that code belongs to, None if it is no such."""
        name = code.co_filename
        if name not in self._names:
            self._names[name] = self._own.get(os.path.abspath(name))  # noqa: PTH100
        return self._names[name]

    def has(self, path: str) -> bool:
        """Whether a file's path is a source's."""
        return os.path.abspath(path) in self._own  # noqa: PTH100

    def lines_of(self, code: CodeType) -> frozenset[int]:
        """The lines at which Python can stop in code, without the functions in it."""
        found = self._lines.get(code)
        if found is None:
            found = self._lines[code] = frozenset(line for _, _, line in code.co_lines() if line)
        return found

    def find(self, text: str, here: str) -> tuple[str, int]:
        """File and line of `12`, `model.py:12`, `function`, `Class.method` or `model.py:function`.

        here: the file that is meant, or meant first, where none is named.

        Raises:
            ValueError: there is no such place, or it could be several.
        """
        file, _, name = text.rpartition(":")
        if name.isdigit() and len(name) < 10:
            return self.file(file) if file else here, int(name)
        files = [self.file(file)] if file else [here, *(one for one in self.files if one != here)]
        for one in files:
            found = [code for code in self._functions(one) if _is_called(code, name)]
            if len(found) > 1:
                names = ", ".join(code.co_qualname for code in found[:5])
                raise ValueError(f"several functions in {one} have this name: {names}")
            if found:
                return one, first_line(found[0])
        raise ValueError(f"there is no function {name!r} in {', '.join(files)}")

    def file(self, name: str) -> str:
        """A source by its path, or as a module.

        Raises:
            ValueError: there is none of this name.
        """
        wanted = name.removeprefix("./").removeprefix(FOLDER + os.sep)
        for one in (wanted, f"{wanted}.py", wanted.replace(".", os.sep) + ".py"):
            if one in self.files:
                return one
        raise ValueError(f"there is no source {name!r}; there are: {', '.join(self.files)}")

    def line_with_code(self, file: str, line: int) -> int:
        """This line, or the next one at which Python can stop.

        Raises:
            ValueError: there is none, or Python cannot read the file.
        """
        length = len(linecache.getlines(path_of(file)))
        if not 1 <= line <= length:
            raise ValueError(f"{file} has lines 1 to {length}")
        after = [one for code in self._codes(file) for one in self.lines_of(code) if one >= line]
        if not after:
            raise ValueError(f"no line of code comes after {file}:{line}")
        return min(after)

    def _functions(self, file: str) -> list[CodeType]:
        return [code for code in self._codes(file) if code.co_flags & NEW_LOCALS and code.co_name[0] != "<"]

    def _codes(self, file: str) -> Iterator[CodeType]:
        """All code of a file, the module's first."""
        path = path_of(file)
        try:
            waiting = [compile("".join(linecache.getlines(path)), path, "exec", dont_inherit=True)]
        except SyntaxError as error:
            raise ValueError(f"Python cannot read {file}: {error.msg}, line {error.lineno}") from None
        while waiting:
            code = waiting.pop(0)
            yield code
            waiting += [one for one in code.co_consts if isinstance(one, CodeType)]


def path_of(file: str) -> str:
    return os.path.join(FOLDER, file)  # noqa: PTH118


def first_line(code: CodeType) -> int:
    """Where the body of a function begins."""
    lines = [line for _, _, line in code.co_lines() if line and line > code.co_firstlineno]
    return lines[0] if lines else code.co_firstlineno


def _is_called(code: CodeType, name: str) -> bool:
    full = code.co_qualname.replace(".<locals>", "")
    return full == name or full.endswith("." + name)
