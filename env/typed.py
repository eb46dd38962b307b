"""A tool as a person types it: `view train.py 10 40`, or `view path=train.py`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MldebugError

_TRUTHS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


class Mistyped(MldebugError):
    """A line that is no command, in words for the person. It costs nothing."""


def split(text: str) -> list[str]:
    """The words of a line: quotes keep blanks; backslashes are taken as they are (patterns hold them).

    Raises:
        Mistyped: a quotation has no end.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError as error:
        raise Mistyped(f"{error}; put what holds one kind of quotes into the other kind") from None


def usage(schema: Mapping[str, Any]) -> str:
    """How a tool is typed: `view PATH [START] [END]`."""
    parameters = schema["parameters"]
    words = [schema["name"]]
    for name, entry in parameters["properties"].items():
        word = name.upper() + "…" * (entry["type"] == "array")
        words.append(word if name in parameters["required"] else f"[{word}]")
    return " ".join(words)


def typed(schema: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The arguments of a tool from what was typed: in the order of its parameters, or as `name=value`. A list
    takes all words that are left.

    Raises:
        Mistyped: too many words, too few, or one is not of the kind it should be.
    """
    kinds = {name: entry["type"] for name, entry in schema["parameters"]["properties"].items()}
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (sign and name in kinds):
            free = (one for one, kind in kinds.items() if one not in found or kind == "array")
            name, value = next(free, ""), word
        if not name or (name in found and kinds[name] != "array"):
            raise Mistyped(f"{word[:60]!r} is too much; type: {usage(schema)}")
        if kinds[name] == "array":
            found.setdefault(name, []).append(value)
        else:
            found[name] = _value(kinds[name], name, value)
    if missing := [name for name in schema["parameters"]["required"] if name not in found]:
        raise Mistyped(f"{missing[0]} is missing; type: {usage(schema)}")
    return found


def _value(kind: str, name: str, word: str) -> str | int | bool:
    if kind == "integer":
        try:
            return int(word[:20])
        except ValueError:
            raise Mistyped(f"{name} must be a number, not {word[:60]!r}") from None
    if kind == "boolean":
        if word.lower() not in _TRUTHS:
            raise Mistyped(f"{name} must be yes or no, not {word[:60]!r}")
        return _TRUTHS[word.lower()]
    return word
