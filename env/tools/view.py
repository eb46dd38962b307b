"""`view`: one file, with line numbers and breakpoints; of data, what is in it."""

from __future__ import annotations

import io

import numpy as np

from ...mutators.workspace import split_lines
from ..models import ActionRefused
from ..workbench import Workbench
from .base import MOST_CHARACTERS, Parameter, Tool
from .breakpoints import marked_lines
from .paths import missing, plain, text_of

ROOM = MOST_CHARACTERS - 500
"""Characters of lines in one answer; the rest is for what stands around them."""
LONGEST_LINE = 500


class View(Tool):
    name = "view"
    description = (
        "One file with line numbers; lines with a breakpoint are marked B. Of a data file: its arrays, their "
        "types and shapes."
    )
    parameters = (
        Parameter("path", str, "a file, relative to the workspace", required=True),
        Parameter("start", int, "the first line that is shown, from 1", default=1),
        Parameter("end", int, "the last line; by default as many as there is room for", default=0),
    )

    def use(self, workbench: Workbench, path: str, start: int, end: int) -> str:
        name = plain(path)
        if name in workbench.data and not workbench.hidden(name):
            return _arrays(name, workbench.data[name])
        if workbench.hidden(name):
            raise missing(workbench, name)
        lines = split_lines(text_of(workbench, name))
        if not lines:
            return f"{name} is empty."
        last = min(end, len(lines)) if end else len(lines)
        if not 1 <= start <= len(lines) or last < start:
            raise ActionRefused(
                f"{name} has lines 1 to {len(lines)}; there are none from {start} to {end or last}"
            )
        marks = marked_lines(workbench, name)
        shown, room = list[str](), ROOM
        for number in range(start, last + 1):
            text = lines[number - 1].rstrip("\r\n")
            if len(text) > LONGEST_LINE:
                text = f"{text[:LONGEST_LINE]}… ({len(text)} characters)"
            row = f"{'B' if number in marks else ' '}{number:>5}  {text}".rstrip()
            room -= len(row) + 1
            if room < 0 and shown:
                break
            shown.append(row)
        until = start + len(shown) - 1
        read_only = ", read-only" if workbench.read_only(name) else ""
        heads = [f"{name}, lines {start} to {until} of {len(lines)}{read_only}:"]
        if until < last:
            heads.append(f"(there was no room for more; go on with start={until + 1})")
        return "\n".join([*heads, *shown])


def _arrays(name: str, content: bytes) -> str:
    """What an archive of arrays holds; data is the harness's own."""
    if not name.endswith(".npz"):
        return f"{name}: {len(content)} bytes."
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        rows = [f"  {key}: {archive[key].dtype}, shape {archive[key].shape}" for key in archive.files]
    return "\n".join([f"{name}, arrays (read-only):", *rows])
