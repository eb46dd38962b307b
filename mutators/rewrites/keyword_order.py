"""Named arguments in another order."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from .base import Choice, Places, Rewrite, RewriteExample, at_places
from .code import Code, origin


class KeywordOrder(Rewrite):
    """Named arguments change places, where their order can be seen by nobody.

    Their values are names and literals, and what is called is an undecorated function of the file without
    `**`, or a torch callable with a fixed signature.
    """

    name = "keyword order"
    examples = (
        RewriteExample(
            "def f(a, b, c):\n    return a\nf(1, b=2, c=3)\ng(b=2, c=3)\nf(1, b=2, c=g())\n",
            "def f(a, b, c):\n    return a\nf(1, c=3, b=2)\ng(b=2, c=3)\nf(1, b=2, c=g())\n",
        ),
        RewriteExample(
            "from torch import nn\nx = nn.Conv2d(1, 2, kernel_size=3, padding=y)\n",
            "from torch import nn\nx = nn.Conv2d(1, 2, padding=y, kernel_size=3)\n",
        ),
    )

    FIXED = frozenset(
        {f"torch.nn.{one}" for one in ("Linear", "Conv1d", "Conv2d", "BatchNorm1d", "BatchNorm2d", "Dropout")}
        | {f"torch.optim.{one}" for one in ("SGD", "Adam", "AdamW", "RMSprop")}
        | {"torch.utils.data.DataLoader"}
    )

    def apply(self, code: Code, choice: Choice) -> Mapping[str, str]:
        known = {name.rsplit(".", 1)[-1] for name in self.FIXED}
        if code.reads_names or known & code.assigned_attributes:
            return {}
        return at_places(code, choice, lambda: _KeywordOrder(code))


class _KeywordOrder(Places):
    def __init__(self, code: Code) -> None:
        super().__init__()
        self.code = code
        self.own: set[str] = set()

    def visit_Module(self, node: cst.Module) -> None:
        own = [one for one in node.body if isinstance(one, cst.FunctionDef)]
        plain = [one for one in own if not one.decorators and one.params.star_kwarg is None]
        names = {one.name.value for one in plain} - self.code.assigned_attributes
        self.own = {name for name in names if self.code.bindings[name] == 1}

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        args = updated_node.args
        named = [one for one in args if one.keyword is not None]
        front = args[: len(args) - len(named)]
        if len(named) < 2 or any(one.star or one.keyword for one in front):
            return updated_node
        simple = cst.Name | cst.Integer | cst.Float | cst.SimpleString
        if not all(isinstance(one.value, simple) for one in named) or not self._fixed(original_node.func):
            return updated_node
        if not self.pick():
            return updated_node
        order = list(reversed(named))
        swapped = [
            new.with_changes(comma=old.comma, whitespace_after_arg=old.whitespace_after_arg)
            for old, new in zip(named, order, strict=True)
        ]
        return updated_node.with_changes(args=[*front, *swapped])

    def _fixed(self, function: cst.BaseExpression) -> bool:
        if isinstance(function, cst.Name):
            return function.value in self.own or self.code.origins.get(function.value) in KeywordOrder.FIXED
        if isinstance(function, cst.Attribute):
            return origin(function, self.code.origins) in KeywordOrder.FIXED
        return False
