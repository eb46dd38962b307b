"""What tools say, read back."""

from __future__ import annotations

import ast
import re

_HEADING = re.compile(r"^=== ([\w./-]+) ===$", re.MULTILINE)


def read_sources(text: str, entrypoint: str) -> dict[str, str]:
    """Path → text, from what `view_source` says; empty if it is something else, or a part is missing."""
    parts = _HEADING.split(text)
    if len(parts) == 1:
        found = {entrypoint: text}
    elif not parts[0].strip():
        # between two files stands one newline that belongs to neither
        texts = [*(one[1:-1] for one in parts[2:-1:2]), parts[-1][1:]]
        found = dict(zip(parts[1::2], texts, strict=True))
    else:
        return {}
    return found if all(_is_source(one) for one in found.values()) else {}


def _is_source(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return any(isinstance(one, ast.Import | ast.ImportFrom) for one in tree.body)
