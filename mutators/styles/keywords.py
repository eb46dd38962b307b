"""Keywords: arguments of well-known torch callables named or given by position."""

from __future__ import annotations

import libcst as cst

from ...seeds import Draw
from .kind import Kind, StyleExample, Trees, each

KNOWN: dict[str, tuple[int, str]] = {
    "torch.nn.Dropout": (0, "p"),
    "torch.utils.data.DataLoader": (1, "batch_size"),
    "torch.cat": (1, "dim"),
    "torch.stack": (1, "dim"),
    "torch.nn.utils.clip_grad_norm_": (1, "max_norm"),
    "torch.optim.lr_scheduler.ExponentialLR": (1, "gamma"),
}
"""Callable → position and name of one argument that may be written either way (torch 2.13's signatures)."""


class Keywords(Kind[tuple[tuple[str, bool], ...]]):
    """The setting says for each known callable whether its argument is named; absent ones are left."""

    name = "keywords"
    examples = (
        StyleExample(
            "from torch import nn\nd = nn.Dropout(0.1), other.Dropout(0.1)\n",
            "from torch import nn\nd = nn.Dropout(p=0.1), other.Dropout(0.1)\n",
            (("torch.nn.Dropout", True),),
        ),
        StyleExample(
            "import torch\nx = torch.cat(parts, dim=1)\n",
            "import torch\nx = torch.cat(parts, 1)\n",
            (("torch.cat", False),),
        ),
    )

    def choose(self, trees: Trees, draw: Draw) -> tuple[tuple[str, bool], ...]:
        drawn = ((name, draw.choose((None, True, False), name)) for name in sorted(KNOWN))
        return tuple((name, named) for name, named in drawn if named is not None)

    def apply(self, trees: Trees, setting: tuple[tuple[str, bool], ...]) -> Trees:
        return each(trees, _Keywords, dict(setting))


class _Keywords(cst.CSTTransformer):
    def __init__(self, named: dict[str, bool]) -> None:
        self.named = named
        self.origins: dict[str, str] = {}

    def visit_Import(self, node: cst.Import) -> None:
        for alias in node.names:
            whole = alias.evaluated_name
            if alias.evaluated_alias:
                self.origins[alias.evaluated_alias] = whole
            else:
                self.origins[whole.split(".")[0]] = whole.split(".")[0]

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        if node.module is None or isinstance(node.names, cst.ImportStar):
            return
        module = cst.Module([]).code_for_node(node.module)
        for alias in node.names:
            self.origins[alias.evaluated_alias or alias.evaluated_name] = f"{module}.{alias.evaluated_name}"

    def _origin(self, function: cst.BaseExpression) -> str:
        attributes: list[str] = []
        while isinstance(function, cst.Attribute):
            attributes.append(function.attr.value)
            function = function.value
        root = self.origins.get(function.value, "") if isinstance(function, cst.Name) else ""
        return ".".join([root, *reversed(attributes)])

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        if not isinstance(updated_node.func, cst.Name | cst.Attribute):
            return updated_node
        origin = self._origin(updated_node.func)
        if origin not in self.named:
            return updated_node
        position, name = KNOWN[origin]
        args = list(updated_node.args)
        if len(args) <= position or any(arg.star for arg in args):
            return updated_node
        arg = args[position]
        if self.named[origin] and arg.keyword is None:
            equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
            follows = args[position + 1 :]
            if any(one.keyword is None for one in follows):
                return updated_node  # a positional argument may not follow
            args[position] = arg.with_changes(keyword=cst.Name(name), equal=equal)
        elif not self.named[origin] and arg.keyword is not None and arg.keyword.value == name:
            if any(one.keyword is not None for one in args[:position]):
                return updated_node
            args[position] = arg.with_changes(keyword=None, equal=cst.MaybeSentinel.DEFAULT)
        return updated_node.with_changes(args=args)
