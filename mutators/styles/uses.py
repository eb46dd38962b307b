"""How identifiers and texts are used in a workspace, as far as syntax tells."""

from __future__ import annotations

import builtins
import re
from collections import defaultdict

import libcst as cst

ATTRIBUTE_TEXT = re.compile(r"named_\w+|__dict__|__slots__|__class__|__name__|startswith|endswith")
"""Attributes through which the names of attributes and classes are seen as text."""

BUILTINS = frozenset(dir(builtins))

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


class Uses(cst.CSTVisitor):
    """Visits all files of a workspace, one after the other, and collects.

    taken: every identifier that is not an attribute; those are in attribute_names.
    barred: names that must stay because text or a statement such as `global` depends on them.
    texts: the values of plain string literals.
    parameters: function or class → what it can be called with; method_parameters: the same of methods.
    variables: names bound by anything but `def`, `class` and imports.
    imported: names bound by imports, and what they are called where they come from.
    self_attributes: attribute → classes that use it on `self`; self_stores: → classes that define it so.
    foreign_attributes: attributes used on anything else.
    class_fields: names bound in a class body other than plain methods.
    plain_classes: classes whose bases are `object` or a `Module` only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[str] = set()
        self.attribute_names: set[str] = set()
        self.barred: set[str] = set()
        self.texts: set[str] = set()
        self.parameters: dict[str, set[str]] = defaultdict(set)
        self.method_parameters: dict[str, set[str]] = defaultdict(set)
        self.variables: set[str] = set()
        self.imported: set[str] = set()
        self.calls: list[cst.Call] = []
        self.plain_classes: set[str] = set()
        self.self_attributes: dict[str, set[str]] = defaultdict(set)
        self.self_stores: dict[str, set[str]] = defaultdict(set)
        self.foreign_attributes: set[str] = set()
        self.class_fields: set[str] = set()
        self.reads_attribute_text = False
        self._classes: list[str] = []
        self._functions = 0

    def visit_Name(self, node: cst.Name) -> None:
        self.taken.add(node.value)

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        value = node.evaluated_value
        if isinstance(value, str):
            self.texts.add(value)

    def visit_Annotation(self, node: cst.Annotation) -> None:
        text = cst.Module([]).code_for_node(node.annotation)
        if "'" in text or '"' in text:
            self.barred.update(_IDENTIFIER.findall(text))

    def visit_FormattedStringExpression(self, node: cst.FormattedStringExpression) -> None:
        if node.equal is not None:
            self.barred.update(_IDENTIFIER.findall(cst.Module([]).code_for_node(node.expression)))

    def visit_NameItem(self, node: cst.NameItem) -> None:
        self.barred.add(node.name.value)

    def visit_Import(self, node: cst.Import) -> None:
        self._import(node.names)

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        if not isinstance(node.names, cst.ImportStar):
            self._import(node.names)

    def _import(self, names: object) -> None:
        for alias in names:  # type: ignore[attr-defined]
            self.imported.add(alias.evaluated_alias or alias.evaluated_name.split(".")[0])
            self.imported.add(alias.evaluated_name)

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        name = node.name.value
        self._classes.append(name)
        bases = [one.value for one in node.bases]
        known = all(
            (isinstance(one, cst.Name) and one.value in {"object", "Module"})
            or (isinstance(one, cst.Attribute) and one.attr.value == "Module")
            for one in bases
        )
        if known and not node.keywords and not node.decorators:
            self.plain_classes.add(name)

    def leave_ClassDef(self, original_node: cst.ClassDef) -> None:
        self._classes.pop()

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        name = node.name.value
        every = [*node.params.posonly_params, *node.params.params, *node.params.kwonly_params]
        params = {one.name.value for one in every}
        if self._classes and not self._functions:
            self.method_parameters[name] |= params
            if name == "__init__":
                self.parameters[self._classes[-1]] |= params
            if node.decorators:
                self.class_fields.add(name)
            self.self_stores[name].add(self._classes[-1])
        else:
            self.parameters[name] |= params
        self._functions += 1

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:
        self._functions -= 1

    def visit_Param(self, node: cst.Param) -> None:
        self.variables.add(node.name.value)

    def visit_Lambda(self, node: cst.Lambda) -> None:
        every = [*node.params.posonly_params, *node.params.params, *node.params.kwonly_params]
        self.method_parameters["<lambda>"] |= {one.name.value for one in every}

    def visit_For(self, node: cst.For) -> None:
        self._bind(node.target)

    def visit_AsName(self, node: cst.AsName) -> None:
        self._bind(node.name)

    def visit_NamedExpr(self, node: cst.NamedExpr) -> None:
        self._bind(node.target)

    def _bind(self, target: cst.BaseExpression) -> None:
        if isinstance(target, cst.Name):
            self.variables.add(target.value)
        elif isinstance(target, cst.Tuple | cst.List):
            for element in target.elements:
                self._bind(element.value)

    def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
        self._store(node.target)

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        self._store(node.target)

    def _store(self, target: cst.BaseExpression) -> None:
        self._bind(target)
        if not self._classes:
            return
        if isinstance(target, cst.Name) and not self._functions:
            self.class_fields.add(target.value)
        if isinstance(target, cst.Attribute) and _is_self(target.value):
            self.self_stores[target.attr.value].add(self._classes[-1])

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        name = node.attr.value
        self.attribute_names.add(name)
        node.value.visit(self)
        if ATTRIBUTE_TEXT.fullmatch(name):
            self.reads_attribute_text = True
        if self._classes and _is_self(node.value):
            self.self_attributes[name].add(self._classes[-1])
        else:
            self.foreign_attributes.add(name)
        return False

    def visit_Comparison(self, node: cst.Comparison) -> None:
        finds_text = isinstance(node.left, cst.SimpleString) and any(
            isinstance(one.operator, cst.In | cst.NotIn) for one in node.comparisons
        )
        self.reads_attribute_text |= finds_text

    def visit_Call(self, node: cst.Call) -> None:
        self.calls.append(node)

    def callables(self) -> dict[str, set[str]]:
        """Functions and classes, with their parameters, that a bare name is sure to mean."""
        return {name: found for name, found in self.parameters.items() if name not in self.variables}

    def opaque_keywords(self) -> set[str]:
        """Parameters that calls name in a way that cannot be followed to the function they reach."""
        known = set().union(*self.parameters.values(), *self.method_parameters.values())
        opaque: set[str] = set()
        for call in self.calls:
            keywords = {arg.keyword.value for arg in call.args if arg.keyword}
            doubly_starred = any(arg.star == "**" for arg in call.args)
            if not keywords and not doubly_starred:
                continue
            reached = self._reached(call)
            if reached is None:
                opaque |= known if doubly_starred else keywords & known
            elif doubly_starred:
                opaque |= reached
        return opaque

    def _reached(self, call: cst.Call) -> set[str] | None:
        """The parameters of the workspace's own callable that a call reaches: empty for a callable of a
        library, None where it cannot be told."""
        if any(isinstance(arg.value, cst.Name) and arg.value.value in self.parameters for arg in call.args):
            return None  # partial(train, epochs=3)
        function = call.func
        if isinstance(function, cst.Name):
            name = function.value
            if name in self.parameters or name in self.variables:
                return self.callables().get(name)
            return set() if name in self.imported or name in BUILTINS else None
        if isinstance(function, cst.Attribute):
            root: cst.BaseExpression = function
            while isinstance(root, cst.Attribute):
                root = root.value
            library = isinstance(root, cst.Name) and root.value in self.imported - self.variables
            return set() if library and function.attr.value not in self.method_parameters else None
        return None


def _is_self(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value == "self"
