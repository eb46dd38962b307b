"""The calls that switch a model to evaluation: which are needed, what they prepare, how they leave."""

from __future__ import annotations

import libcst as cst

from .analysis import Script, dotted
from .editing import argument, delete_statement, unwrap
from .idioms import is_statement
from .manual_resets import can_leave
from .mode_changes import breaks, clean_worlds, last_evaluation
from .mode_states import Change
from .modes import FUNCTIONAL_DROPOUT, MODE_ARGUMENTS, never, switch_mode
from .workspace import Edit


def eval_switches(script: Script) -> list[cst.Call]:
    """The calls that switch a model to evaluation, in source order."""
    return [call for call in script.method_calls("eval", "train") if switch_mode(call) == "eval"]


def receiver(script: Script, call: cst.Call) -> str:
    assert isinstance(call.func, cst.Attribute)
    return script.text(call.func.value)


def removable(script: Script, call: cst.Call) -> bool:
    return can_leave(script, call) if is_statement(script, call) else True


def remove(script: Script, call: cst.Call) -> Edit:
    return delete_statement(script, call) if is_statement(script, call) else unwrap(script, call)


def each_needed(script: Script) -> list[cst.Call]:
    """Switches without which the last evaluation runs in training mode, each for itself."""
    return [call for call in eval_switches(script) if breaks(script, Change(skip=frozenset({call})))]


def evaluating(script: Script, call: cst.Call) -> cst.BaseCompoundStatement | cst.SimpleStatementLine | None:
    """The first statement behind a switch, in its block, in which the model it switched is called."""
    calls = [one.call for world in clean_worlds(script) for one in world if one.switch is call]
    function = script.scope(call)
    block = script.block(call)
    statements = script.statements(block)
    here = script.statement(call)
    if here not in statements:
        return None
    for statement in statements[statements.index(here) + 1 :]:
        if any(script.scope(one) is function and script.inside(one, statement) for one in calls):
            if script.nodes(cst.Return, statement):
                return None
            return statement
    return None


def eval_statements(script: Script) -> list[cst.Call]:
    """Those that each are needed, spelled `eval()` on a name, and the only statement of their line."""
    return [call for call in each_needed(script) if _says_eval(script, call)]


def _says_eval(script: Script, call: cst.Call) -> bool:
    """Whether a call is the only statement of its line, on a name, and spelled `eval()`."""
    line = script.statement(call)
    return (
        is_statement(script, call)
        and isinstance(line, cst.SimpleStatementLine)
        and len(line.body) == 1
        and isinstance(call.func, cst.Attribute)
        and call.func.attr.value == "eval"
        and dotted(call.func.value) is not None
    )


def switches_after(script: Script, anchor: cst.CSTNode) -> bool:
    """Whether the block already switches modes behind a statement."""
    statements = script.statements(script.block(anchor))
    behind = statements[next(i for i, one in enumerate(statements) if one is anchor) + 1 :]
    return any(switch_mode(call) for one in behind for call in script.nodes(cst.Call, one))


def told_the_mode(script: Script) -> list[tuple[cst.Call, cst.Arg, bool]]:
    """Functions that are told the mode in which the script evaluates: the call, the argument, and whether it
    drops in both modes without it."""
    found = []
    for call in script.calls(*MODE_ARGUMENTS):
        name = script.resolve(call.func) or ""
        given = argument(call, *MODE_ARGUMENTS[name])
        rate = argument(call, 1, "p") if "dropout" in name else None
        if given is None or dotted(given.value) in ("True", "False") or not evaluates(script):
            continue
        if rate is None or not never(rate.value):
            droppable = FUNCTIONAL_DROPOUT.get(name) == "True" and given is call.args[-1]
            found.append((call, given, droppable))
    return found


def evaluates(script: Script) -> bool:
    return any(one is not None for one in last_evaluation(script))
