"""Which names of a workspace are its own, to call as it likes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import (
    Assignment,
    ClassScope,
    ImportAssignment,
    MetadataWrapper,
    Scope,
    ScopeProvider,
)

from .kind import Trees
from .uses import Uses
from .vocabulary import MODULE_API

REFLECTION = frozenset({"locals", "globals", "vars", "eval", "exec", "compile", "__import__", "dir"})
"""Builtins that see names as text: a workspace that uses one keeps all its names."""

ATTRIBUTE_REFLECTION = frozenset({"getattr", "setattr", "hasattr", "delattr"})
"""Builtins that see attribute names as text: then attributes keep theirs."""


@dataclass(frozen=True)
class Bindings:
    """What may be renamed, and what a new name must stay clear of.

    names: variables, parameters, functions and classes that every occurrence in the workspace is known of.
    attributes: attributes and methods that are used on `self` only, inside one class.
    taken: every identifier of the workspace, of whatever sort. parameters: callable → its parameters.
    modules: what the workspace's files are imported as.
    """

    names: frozenset[str]
    attributes: frozenset[str]
    taken: frozenset[str]
    parameters: Mapping[str, frozenset[str]]
    modules: frozenset[str]


def find_bindings(trees: Trees) -> Bindings:
    """Scope analysis of a whole workspace. A name is judged once, for all its scopes and files."""
    modules = {path.removesuffix(".py").replace("/", ".") for path in trees}
    uses = Uses()
    for tree in trees.values():
        tree.visit(uses)
    bound: set[str] = set()
    barred: set[str] = set()
    for tree in trees.values():
        # the parser shares no nodes between places, so the defensive copy of the tree is not needed
        wrapper = MetadataWrapper(tree, unsafe_skip_copy=True)
        scopes = {scope for scope in wrapper.resolve(ScopeProvider).values() if scope is not None}
        for scope in scopes:
            _judge(scope, modules, bound, barred)
    barred |= uses.barred | uses.texts | uses.opaque_keywords()
    if uses.imported & modules:
        # a module used as an object: what is reached through it cannot be told from other attributes
        barred |= uses.foreign_attributes
    names = {name for name in bound - barred if not name.startswith("__") and name.strip("_")}
    if uses.taken & REFLECTION:
        names = set()
    return Bindings(
        frozenset(names - {"self", "cls"}),
        frozenset(_private_attributes(uses)),
        frozenset(uses.taken | uses.attribute_names | bound | barred),
        {name: frozenset(found) for name, found in uses.callables().items()},
        frozenset(modules),
    )


def _judge(scope: Scope, modules: set[str], bound: set[str], barred: set[str]) -> None:
    """Sort the names of one scope into those bound by the workspace and those that are not its own."""
    for assignment in scope.assignments:
        if isinstance(assignment, ImportAssignment):
            node = assignment.node
            internal = (
                isinstance(node, cst.ImportFrom)
                and node.module is not None
                and cst.Module([]).code_for_node(node.module) in modules
            )
            barred.update(() if internal else (assignment.name,))
        elif not isinstance(assignment, Assignment) or isinstance(scope, ClassScope):
            barred.add(assignment.name)
        else:
            bound.add(assignment.name)
    for access in scope.accesses:
        if not access.referents and isinstance(access.node, cst.Name):
            barred.add(access.node.value)
        for referent in access.referents:
            if isinstance(referent.scope, ClassScope) or not isinstance(referent, Assignment):
                barred.add(referent.name)


def _private_attributes(uses: Uses) -> Iterable[str]:
    if uses.taken & (REFLECTION | ATTRIBUTE_REFLECTION) or uses.reads_attribute_text:
        return ()
    return (
        name
        for name, owners in uses.self_attributes.items()
        if len(owners) == 1
        and owners <= uses.plain_classes
        and owners <= uses.self_stores.get(name, set())
        and name not in uses.foreign_attributes | uses.class_fields | MODULE_API
        and not name.startswith("__")
        and not any(name in text.split(".") for text in uses.texts)
    )
