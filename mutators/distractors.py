"""Code that looks wrong and is right.

Each kind adds one small thing that makes a reader stop and that changes nothing, or nothing that matters.
They come after the style and before the bugs, in broken jobs and references alike, and say nothing of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import libcst as cst

from ..errors import SpliceError
from ..seeds import Draw
from .analysis import Script
from .collapse_places import local_name, setting, times
from .editing import insert_after, insert_before, insert_last, replace
from .idioms import calls_on, is_statement, layers, optimizers, training_steps
from .workspace import Edit, Workspace, splice

MOST = 2
"""Distractors of one job."""


@dataclass(frozen=True)
class Distractor:
    """One that was put in. line: where it stands, from 1 on, before the bugs."""

    kind: str
    file: str
    line: int


Places = Iterator[tuple[cst.CSTNode, Edit]]


def _commented_call(script: Script, draw: Draw) -> Places:
    """A call that somebody commented out, where it is not needed."""
    for step in training_steps(script):
        loss = script.text(step.loss)
        for call in step.steps:
            if is_statement(script, call) and isinstance(call.func, cst.Attribute):
                name = script.text(call.func.value)
                texts = (
                    f"# {name}.zero_grad(set_to_none=True)",
                    f"# print({loss}.item())",
                    f"# {name}.step()",
                )
                yield call, insert_after(script, call, draw.choose(texts, "text"))
        if is_statement(script, step.backward):
            texts = (
                f"# {loss} = {loss} / 2",
                f"# {loss}.backward(retain_graph=True)",
                f"# {loss} = {loss}.mean()",
            )
            yield step.backward, insert_before(script, step.backward, draw.choose(texts, "text"))


def _second_eval(script: Script, draw: Draw) -> Places:
    """A model is put into evaluation mode twice in a row."""
    for call in calls_on(script, "model", "eval"):
        if is_statement(script, call):
            yield call, insert_after(script, call, script.text(call))


def _odd_rate(script: Script, draw: Draw) -> Places:
    """A learning rate with odd digits, next to the one that was there."""
    for optimizer in optimizers(script):
        literal = setting(script, optimizer, "lr", 1)
        if literal is not None:
            factor = Decimal(draw.choose(("0.87", "0.93", "1.07", "1.13"), "factor"))
            yield literal, replace(script, literal, times(literal, factor))


def _unused_layer(script: Script, draw: Draw) -> Places:
    """A dropout layer that nothing calls."""
    name = draw.choose(("drop_out", "input_dropout", "spare_dropout", "drop_in"), "name")
    rate = draw.choose(("0.5", "0.8", "0.9"), "rate")
    if any(name in text for _, text in script.workspace):
        return
    owners = {layer.owner: layer for layer in layers(script) if layer.owner is not None and layer.attribute}
    for owner, layer in owners.items():
        init = script.method(owner, "__init__")
        prefix = local_name(script, layer.call, "torch.nn")
        if init is not None and prefix and script.inside(layer.call, init):
            yield init, insert_last(script, init, f"self.{name} = {prefix}.Dropout({rate})")


def _kept_graph(script: Script, draw: Draw) -> Places:
    """The graph is kept for a second backward that never comes."""
    for step in training_steps(script):
        if not step.backward.args and is_statement(script, step.backward):
            text = script.text(step.backward)
            yield (
                step.backward,
                replace(script, step.backward, text[:-1].rstrip("( ") + "(retain_graph=True)"),
            )


KINDS: dict[str, Callable[[Script, Draw], Places]] = {
    "commented_call": _commented_call,
    "kept_graph": _kept_graph,
    "odd_rate": _odd_rate,
    "second_eval": _second_eval,
    "unused_layer": _unused_layer,
}


def distracted(script: Script, draw: Draw) -> tuple[Workspace, tuple[Distractor, ...]]:
    """The workspace with none, one or two distractors of different kinds."""
    edits: list[Edit] = []
    found: list[Distractor] = []
    for kind in draw.shuffled(sorted(KINDS), "kinds")[: draw.below(MOST + 1, "how many")]:
        places = list(KINDS[kind](script, draw.child(kind)))
        if not places:
            continue
        node, edit = draw.choose(places, kind, "place")
        try:
            splice(script.workspace, (*edits, edit))
        except SpliceError:
            continue
        edits.append(edit)
        found.append(Distractor(kind, edit.file, script.line(node)))
    if not edits:
        return script.workspace, ()
    return splice(script.workspace, tuple(sorted(edits))), tuple(found)
