"""Where a script clears gradients by hand: `p.grad = None`, `p.grad.zero_()`."""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from .analysis import Loop, Script, dotted, fact
from .idioms import calls_on

Region = Loop | cst.FunctionDef


@dataclass(frozen=True)
class ManualReset:
    """A statement (a whole loop or condition, where it does nothing else) that clears `.grad` by hand."""

    statement: cst.For | cst.If | cst.Assign | cst.Expr


def can_leave(script: Script, node: cst.CSTNode) -> bool:
    """Whether a statement can go without leaving an empty block."""
    block = script.block(node)
    small = script.small_statement(node)
    return len(script.statements(block)) > 1 or (
        isinstance(line := script.parent(small) if small is not None else None, cst.SimpleStatementLine)
        and len(line.body) > 1
    )


def _is_reset(node: cst.CSTNode) -> bool:
    """`p.grad = None`, `p.grad.zero_()`, `p.grad.data.zero_()`, `p.grad.detach_()`."""
    if isinstance(node, cst.Assign):
        target, value = node.targets[0].target, node.value
        return (
            isinstance(target, cst.Attribute)
            and target.attr.value == "grad"
            and isinstance(value, cst.Name)
            and value.value == "None"
        )
    if isinstance(node, cst.Expr) and isinstance(node.value, cst.Call):
        name = dotted(node.value.func) or ""
        return name.endswith((".grad.zero_", ".grad.data.zero_", ".grad.detach_"))
    return False


def _only_resets(script: Script, node: cst.CSTNode) -> bool:
    if isinstance(node, (cst.For, cst.If)):
        return node.orelse is None and all(_only_resets(script, one) for one in node.body.body)
    if isinstance(node, (cst.SimpleStatementLine, cst.SimpleStatementSuite)):
        return all(_is_reset(one) for one in node.body)
    return _is_reset(node)


def manual_statements(script: Script, region: cst.CSTNode) -> list[cst.CSTNode]:
    return [one for one in script.nodes((cst.Assign, cst.Expr), region) if _is_reset(one)]


@fact
def manual_resets(script: Script) -> tuple[ManualReset, ...]:
    """The statements that clear gradients by hand in a loop (or function) that differentiates and updates.

    Left out where `zero_grad` is called in the same region, or where one parameter is cleared twice.
    """
    found: list[cst.For | cst.If | cst.Assign | cst.Expr] = []
    for file in script.files:
        for inner in manual_statements(script, file.module):
            unit = inner
            for one in script.ancestors(inner):
                if isinstance(one, (cst.For, cst.If)) and _only_resets(script, one):
                    unit = one
            assert isinstance(unit, (cst.For, cst.If, cst.Assign, cst.Expr))
            if unit in found or not can_leave(script, unit):
                continue
            if _is_detach(unit):
                continue
            region = _manual_region(script, unit)
            if region is not None and not _covered(script, unit, region):
                found.append(unit)
    return tuple(ManualReset(one) for one in found)


def _is_detach(unit: cst.CSTNode) -> bool:
    return (
        isinstance(unit, cst.Expr)
        and isinstance(unit.value, cst.Call)
        and (dotted(unit.value.func) or "").endswith("detach_")
    )


def _manual_region(script: Script, unit: cst.CSTNode) -> Region | None:
    around: list[Region] = [*script.loop_stack(unit)]
    if (function := script.function(unit)) is not None:
        around.append(function)
    return next((one for one in around if script.method_calls("backward", within=one)), None)


def _covered(script: Script, unit: cst.CSTNode, region: Region) -> bool:
    """Whether other code of the region clears the same gradients, or nothing uses them."""
    if script.method_calls("zero_grad", within=region):
        return True
    cleared = script.text(unit).split(".grad")[0]
    others = [one for one in manual_statements(script, region) if not script.inside(one, unit)]
    if any(script.text(one).split(".grad")[0] == cleared and not _is_detach(one) for one in others):
        return True
    inside = {id(one) for statement in (*others, unit) for one in script.attributes("grad", within=statement)}
    used = any(id(one) not in inside for one in script.attributes("grad", within=region))
    return not used and not [
        call for call in calls_on(script, "optimizer", "step") if script.inside(call, region)
    ]
