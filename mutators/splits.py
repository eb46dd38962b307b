"""How a script divides its rows, and which part it trains on.

Everything is followed through assignments of one function (or the top level of a file). Which part is trained
on is found by going back from the loop that differentiates; only where a function has no training in it
(it loads and splits, and returns the parts) do the words in names decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import libcst as cst

from .analysis import Script, dotted, fact, target_names
from .bindings import origins, passed_at

Scope = cst.FunctionDef | cst.Module

ORDERS = frozenset({"randperm", "permutation", "arange", "argsort", "shuffle", "multinomial"})
"""Functions whose result is an order of row numbers."""


_ROWS = "(idx|inds?|index|indices|ids|rows|set|part|mask|data|loader|x|y|X|Y)"


def _words_of(*stems: str) -> re.Pattern[str]:
    """Matches a name with one of the words: `train_idx`, `trainidx`, `Xtrain`, `rowsTrain`."""
    small, large = "|".join(stems), "|".join(one.capitalize() for one in stems)
    return re.compile(rf"((^|_|\.)[xyXY]?({small})|(?<=[a-z])({large})){_ROWS}?(_|\d|[A-Z]|$)")


TRAIN_WORDS = _words_of("train", "training", "trn", "tr", "fit")
HELD_OUT_WORDS = _words_of(
    "test", "val", "valid", "validation", "dev", "eval", "held", "hold", "holdout", "heldout"
)


@dataclass(frozen=True)
class Part:
    """`base[index]`: some of the rows of an array. index is source text: `train_idx`, `~mask`, `n:`."""

    node: cst.Subscript
    base: str
    index: str


def in_scope(script: Script, node: cst.CSTNode, scope: Scope) -> bool:
    return script.scope(node) is scope


@fact
def scopes(script: Script) -> tuple[Scope, ...]:
    found: list[Scope] = []
    for file in script.files:
        found.append(file.module)
        found += script.functions(file.module)
    return tuple(found)


@fact
def parts(script: Script, scope: Scope) -> tuple[Part, ...]:
    """Every `base[index]` of a scope whose index is a name, an inverted mask, or a slice open on one side."""
    found = []
    for node in script.nodes(cst.Subscript, scope):
        base = dotted(node.value)
        if base is None or len(node.slice) != 1 or not in_scope(script, node, scope):
            continue
        index = node.slice[0].slice
        if isinstance(index, cst.Index):
            value = index.value
            if isinstance(value, cst.UnaryOperation) and isinstance(value.operator, cst.BitInvert):
                value = value.expression
            if not isinstance(value, (cst.Name, cst.Attribute)) or dotted(value) is None:
                continue
        elif not isinstance(index, cst.Slice) or (index.lower is None) == (index.upper is None) or index.step:
            continue
        if isinstance(script.parent(node), cst.AssignTarget):
            continue
        text = re.sub(r"\s+", "", script.text(node.slice[0]))
        found.append(Part(node, base, text))
    return tuple(found)


# -- bindings -----------------------------------------------------------------------------------------


def bound_values(write: cst.CSTNode, name: str) -> list[cst.BaseExpression]:
    """What an assignment gives a name: its element where both sides are tuples, else the whole value."""
    pairs: list[tuple[cst.BaseExpression, cst.BaseExpression]]
    if isinstance(write, cst.Assign):
        pairs = [(one.target, write.value) for one in write.targets]
    elif isinstance(write, (cst.AnnAssign, cst.NamedExpr, cst.AugAssign)) and write.value is not None:
        pairs = [(write.target, write.value)]
    elif isinstance(write, cst.For):
        pairs = [(write.target, write.iter)]
    else:
        return []
    found: list[cst.BaseExpression] = []
    for target, value in pairs:
        same = isinstance(target, cst.Tuple) and isinstance(value, cst.Tuple)
        if same and len(target.elements) == len(value.elements):  # type: ignore[attr-defined]
            both = zip(target.elements, value.elements, strict=True)  # type: ignore[attr-defined]
            found += [right.value for left, right in both if name in target_names(left.value)]
        elif name in target_names(target):
            found.append(value)
    return found


def reaching(script: Script, name: str, at: cst.CSTNode, scope: Scope) -> cst.CSTNode | None:
    """The assignment that a name's value comes from at a place, if that is certain: the last one before it
    in source order, in the same block or one around it, outside loops that do not hold the place."""
    position = script.span(script.statement(at))[0]
    writes = [one for one in script.writes(name, scope) if script.span(one)[0] < position]
    if not writes:
        return None
    last = max(writes, key=script.order)
    if isinstance(last, (cst.For, cst.AugAssign, cst.AsName)):
        return None
    block = script.block(last)
    while isinstance(around := script.parent(block), cst.With):
        block = script.block(around)
    return last if script.inside(at, block) else None


def names_in(script: Script, node: cst.CSTNode) -> set[str]:
    """The plain names read inside an expression."""
    return {
        one.value
        for one in script.nodes(cst.Name, node)
        if not (isinstance(parent := script.parent(one), cst.Attribute) and parent.attr is one)
        and not (isinstance(parent, cst.Arg) and parent.keyword is one)
    }


# -- which part is trained on -----------------------------------------------------------------------------


@fact
def called(script: Script, call: cst.Call) -> cst.FunctionDef | cst.ClassDef | None:
    """The function, class or method of this workspace that a call runs: also the method behind
    `self.epoch(x)`, `trainer.fit(x)` and `Trainer(net).fit(x)`."""
    made = script.definition(call.func)
    if made is not None or not isinstance(call.func, cst.Attribute):
        return made
    receiver = call.func.value
    if dotted(receiver) == "self":
        owners: list[cst.CSTNode | None] = [script.class_of(call)]
    else:
        built = origins(script, receiver)
        owners = [script.definition(one.func) for one in built if isinstance(one, cst.Call)]
    for owner in owners:
        if isinstance(owner, cst.ClassDef):
            return script.method(owner, call.func.attr.value)
    return None


@fact
def differentiates(script: Script, node: cst.CSTNode, depth: int = 6) -> bool:
    """Whether a function or class holds a `backward`, itself or in what it calls."""
    if script.method_calls("backward", within=node):
        return True
    if depth == 0:
        return False
    made = {called(script, call) for call in script.nodes(cst.Call, node)}
    return any(
        differentiates(script, one, depth - 1)
        for one in sorted((one for one in made if one is not None and one is not node), key=script.order)
    )


@fact
def training(script: Script, scope: Scope, depth: int = 4) -> tuple[frozenset[str], frozenset[str]]:
    """The names that training in this scope depends on, and the indices of the parts among them; through
    `depth` levels of functions that train."""
    read: list[cst.CSTNode] = []
    rounds: list[tuple[cst.CSTNode, cst.CSTNode]] = []
    for call in script.nodes(cst.Call, scope):
        if not in_scope(script, call, scope):
            continue
        if isinstance(call.func, cst.Attribute) and call.func.attr.value == "backward":
            read.append(call.func.value)
            rounds += [(loop, call) for loop in script.loop_stack(call)]
        else:
            made = called(script, call)
            if made is not None and differentiates(script, made):
                read += _trained_with(script, call, made, depth)
    names: set[str] = set()
    indices: set[str] = set()
    everything = parts(script, scope)
    while read:
        node = read.pop()
        indices |= {part.index for part in everything if script.inside(part.node, node)}
        for name in sorted(names_in(script, node) - names):
            names.add(name)
            writes = [one for one in script.writes(name, scope) if not isinstance(one, cst.AsName)]
            # `loss` and `logits` are often bound again by the evaluation behind `backward`
            near = [
                one
                for one in writes
                for loop, call in rounds
                if script.inside(one, loop) and script.order(one) < script.order(call)
            ]
            for write in near or writes:
                read += bound_values(write, name)
    return frozenset(names), frozenset(indices)


def _trained_with(
    script: Script, call: cst.Call, made: cst.FunctionDef | cst.ClassDef, depth: int
) -> list[cst.CSTNode]:
    """The arguments of a call that what it runs trains with, `x` and `y` of `fit(model, x, y, x_test)`; all
    of them where it cannot be told."""
    every: list[cst.CSTNode] = [arg.value for arg in call.args]
    if depth == 0 or isinstance(made, cst.ClassDef) or any(arg.star for arg in call.args):
        return every
    names, _ = training(script, made, depth - 1)
    found = [passed_at(script, made, name, call) for name in sorted(names)]
    return [one for one in found if one is not None] or every


def is_training_index(script: Script, scope: Scope, part: Part) -> bool:
    """Whether a part holds the rows that are trained on."""
    names, indices = training(script, scope)
    if names:
        return part.index in indices
    words = _words(script, scope, part.index)
    return any(TRAIN_WORDS.search(one) for one in words) and not any(
        HELD_OUT_WORDS.search(one) for one in words
    )


@fact
def _words(script: Script, scope: Scope, index: str) -> frozenset[str]:
    """The names that stand for the rows of one index: its own, and what its parts are bound to. A slice's
    own names say nothing (`n_train:` is what comes behind the training rows)."""
    words = set() if ":" in index else {index.removeprefix("~")}
    for part in parts(script, scope):
        write = script.small_statement(part.node)
        if part.index != index or not isinstance(write, cst.Assign):
            continue
        for name in (name for target in write.targets for name in target_names(target.target)):
            if any(script.inside(part.node, value) for value in bound_values(write, name)):
                words.add(name)
    return frozenset(words)


@fact
def held_out(script: Script, scope: Scope, part: Part) -> tuple[Part, ...]:
    """The parts by another index that are not trained on, where this one is; empty otherwise."""
    if not is_training_index(script, scope, part):
        return ()
    return tuple(
        other
        for other in parts(script, scope)
        if other.index != part.index
        and other.base == part.base
        and _same_kind(other, part)
        and not is_training_index(script, scope, other)
    )


def _same_kind(one: Part, other: Part) -> bool:
    """Two slices, or two index arrays (`x[0]`, `x[i]` beside `x[:n]` say nothing)."""
    return (":" in one.index) == (":" in other.index)


def is_order(script: Script, base: str, at: cst.CSTNode, scope: Scope) -> bool:
    """Whether a name holds row numbers in some order."""
    write = reaching(script, base, at, scope)
    values = bound_values(write, base) if write is not None else []
    return any(
        (dotted(call.func) or script.text(call.func)).rpartition(".")[2] in ORDERS
        for value in values
        for call in script.nodes(cst.Call, value)
    )
