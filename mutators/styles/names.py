"""Names: other words of the field for variables, parameters, functions, classes and private attributes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import libcst as cst

from ...seeds import Draw
from .bindings import Bindings, find_bindings
from .kind import Kind, StyleExample, Trees, each
from .vocabulary import ATTRIBUTES, MODULE_API, RESERVED, SPLIT_WORDS, TWINS, WHOLE, WORDS

ANALYSES_KEPT = 32
"""Workspaces whose scope analysis is remembered: one per script of the library, and some to spare."""

Case = Literal["snake", "camel", "joined"]

RATES = (0, 40, 70, 90, 100)
"""Percent of the names that an engineer of this style would call differently."""


@dataclass(frozen=True)
class Renaming:
    """Old name → new name, for names and for attributes; both sorted, both one to one."""

    names: tuple[tuple[str, str], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


class Names(Kind[Renaming]):
    """A name is renamed in all files at once, to a name that occurs nowhere, so nothing is captured.

    Attribute names, keys, keywords of library calls, imported names, and all names that text depends on
    stay as they are.
    """

    name = "names"
    examples = (
        StyleExample(
            "def train(model, lr):\n    return model(lr, lr=lr)\n\n\ntrain(max, lr=1)\n",
            "def train(net, lr):\n    return net(lr, lr=lr)\n\n\ntrain(max, lr=1)\n",
            Renaming((("model", "net"),)),
        ),
        StyleExample(
            "def scale(x, by):\n    return {'x': x * by}\n\n\nscale(1, by=2)['x']\n",
            "def scale(inputs, factor):\n    return {'x': inputs * factor}\n\n\nscale(1, factor=2)['x']\n",
            Renaming((("by", "factor"), ("x", "inputs"))),
        ),
        StyleExample(
            "class Net:\n    def __init__(self, head):\n        self.head = head\n",
            "class Model:\n    def __init__(self, head):\n        self.top = head\n",
            Renaming((("Net", "Model"),), (("head", "top"),)),
        ),
    )

    def choose(self, trees: Trees, draw: Draw) -> Renaming:
        found = _analysis(tuple((path, tree.code) for path, tree in trees.items()))
        rate = draw.choose(RATES, "rate")
        case: Case = draw.choose(("snake", "snake", "snake", "snake", "camel", "joined"), "case")
        words = {
            word: draw.choose((word, *others), "word", TWINS.get(word, word)) if rate else word
            for word, others in WORDS.items()
        }
        swap = draw.chance(1, 2, "swap")
        gone = set(found.taken | RESERVED | MODULE_API)

        def pick(name: str, options: Iterable[str]) -> str:
            for option in options:
                if option == name or (option not in gone and option.isidentifier()):
                    gone.add(option)
                    return option
            return name

        if not rate:
            return Renaming()

        def others(table: dict[str, tuple[str, ...]], name: str) -> list[str]:
            if draw.below(100, "renamed", TWINS.get(name, name)) >= rate:
                return []
            return draw.shuffled(table.get(name, ()), "whole", TWINS.get(name, name))

        names = [
            (name, pick(name, _candidates(name, others(WHOLE, name.lower().lstrip("_")), words, swap, case)))
            for name in sorted(found.names)
        ]
        attributes = [
            (name, pick(name, (*others(ATTRIBUTES, name), _reworded_attribute(name, words))))
            for name in sorted(found.attributes)
        ]
        return Renaming(
            tuple((old, new) for old, new in names if old != new),
            tuple((old, new) for old, new in attributes if old != new),
        )

    def apply(self, trees: Trees, setting: Renaming) -> Trees:
        if not setting.names and not setting.attributes:
            return trees
        found = _analysis(tuple((path, tree.code) for path, tree in trees.items()))
        return each(trees, _Rename, dict(setting.names), dict(setting.attributes), found)


@lru_cache(maxsize=ANALYSES_KEPT)
def _analysis(files: tuple[tuple[str, str], ...]) -> Bindings:
    return find_bindings({path: cst.parse_module(text) for path, text in files})


def _candidates(
    name: str, whole: Sequence[str], words: dict[str, str], swap: bool, case: Case
) -> Iterator[str]:
    """What a name may be called instead, the best first; in the letter case that the old name has."""
    prefix = name[: len(name) - len(name.lstrip("_"))]
    bare = name[len(prefix) :]
    if bare.isupper() and len(bare) > 1:
        for option in _reworded(bare.lower(), whole, words, swap):
            yield prefix + option.upper()
    elif bare[:1].isupper():
        yield from (prefix + _capitalised(option) for option in whole)
        parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9_]+", bare)
        yield prefix + "".join(
            part
            if words.get(part.lower(), part.lower()) == part.lower()
            else _capitalised(words[part.lower()])
            for part in parts
        )
    else:
        for option in _reworded(bare, whole, words, swap):
            yield prefix + _cased(option, case)


def _reworded(name: str, whole: Sequence[str], words: dict[str, str], swap: bool) -> Iterator[str]:
    """Synonyms of the whole name, then the name with its words replaced and, if asked, swapped.

    The name itself comes last, so that a style in another letter case finds it."""
    yield from whole
    parts = name.replace("held_out", "heldout").split("_")
    replaced = [words["held_out"] if part == "heldout" else words.get(part, part) for part in parts]
    if swap and len(parts) == 2 and SPLIT_WORDS & set(parts):
        yield "_".join(reversed(replaced))
        yield "_".join(reversed(parts)).replace("heldout", "held_out")
    yield "_".join(replaced)
    yield name


def _reworded_attribute(name: str, words: dict[str, str]) -> str:
    return "".join(words.get(part, part) for part in re.findall(r"[a-z]+|\d+|_+|[A-Z]+", name))


def _capitalised(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _cased(name: str, case: Case) -> str:
    if case == "snake" or name.endswith("_"):
        return name
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() if case == "camel" else part for part in tail)


class _Rename(cst.CSTTransformer):
    def __init__(self, names: dict[str, str], attributes: dict[str, str], found: Bindings) -> None:
        self.names = names
        self.attributes = attributes
        self.found = found
        self.depth: list[bool] = []

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        new = self.names.get(updated_node.value)
        return updated_node if new is None else updated_node.with_changes(value=new)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.Attribute:
        attr = original_node.attr
        on_self = isinstance(original_node.value, cst.Name) and original_node.value.value == "self"
        if on_self and attr.value in self.attributes:
            attr = attr.with_changes(value=self.attributes[attr.value])
        return updated_node.with_changes(attr=attr)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        function = original_node.func
        own: frozenset[str] = frozenset()
        if isinstance(function, cst.Name):
            own = self.found.parameters.get(function.value, own)
        args = [
            new if old.keyword is None or old.keyword.value in own else new.with_changes(keyword=old.keyword)
            for old, new in zip(original_node.args, updated_node.args, strict=True)
        ]
        return updated_node.with_changes(args=args)

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.depth.append(True)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        self.depth.pop()
        return updated_node.with_changes(keywords=original_node.keywords)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.depth.append(False)

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        self.depth.pop()
        name = original_node.name
        if self.depth and self.depth[-1] and name.value in self.attributes:
            return updated_node.with_changes(name=name.with_changes(value=self.attributes[name.value]))
        return updated_node

    def leave_ImportFrom(self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom) -> cst.ImportFrom:
        module = original_node.module
        own = module is not None and cst.Module([]).code_for_node(module) in self.found.modules
        return updated_node.with_changes(module=module) if own else original_node

    def leave_Import(self, original_node: cst.Import, updated_node: cst.Import) -> cst.Import:
        return original_node

    def leave_MatchKeywordElement(
        self, original_node: cst.MatchKeywordElement, updated_node: cst.MatchKeywordElement
    ) -> cst.MatchKeywordElement:
        return updated_node.with_changes(key=original_node.key)
