"""Evaluation runs in training mode: dropout still drops, batch norm still uses the batch."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst

from .analysis import Script
from .base import Example, Manifestation, Mutator, Site
from .dropout_layers import functional_name, layer_uses
from .editing import add_argument, argument, drop_argument, insert_after, move, replace, replace_outer
from .eval_switches import (
    each_needed,
    eval_switches,
    evaluates,
    evaluating,
    receiver,
    removable,
    remove,
    switches_after,
)
from .idioms import is_statement, layers
from .manual_resets import can_leave
from .mode_changes import breaks, clean_worlds
from .mode_examples import FULL, FUNCTIONAL, HEAD, PREDICT, TWO
from .mode_states import Change
from .modes import FUNCTIONAL_DROPOUT, MODE_ARGUMENTS, never, noisy_call
from .workspace import Edit


class EvalRemoved(Manifestation):
    name: ClassVar[str] = "eval_removed"
    summary: ClassVar[str] = (
        "No call of eval(): predictions are made with dropout on and with batch statistics."
    )
    seen_in: ClassVar[str] = "Bug catalogue of this project: missing eval mode, removed call"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(HEAD + PREDICT, HEAD + PREDICT.replace("    model.eval()\n", "")),
        Example(HEAD + TWO, HEAD + TWO.replace("    model.eval()\n", "")),
        Example(
            HEAD + "\nmodel = Net().eval()\nprint(model(x_test))\n",
            HEAD + "\nmodel = Net()\nprint(model(x_test))\n",
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        calls = [call for call in eval_switches(script) if removable(script, call)]
        if len(eval_switches(script)) == 1:
            needed = each_needed(script)
            return [script.site(call) for call in calls if call in needed]
        together = frozenset(calls)
        if calls and calls == eval_switches(script) and breaks(script, Change(skip=together)):
            return [script.site(calls[-1])]
        return []

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        return tuple(sorted(remove(script, call) for call in eval_switches(script)))


class OnePlaceForgotten(Manifestation):
    name: ClassVar[str] = "one_place_forgotten"
    summary: ClassVar[str] = "Validation switches to evaluation mode, the final prediction does not."
    seen_in: ClassVar[str] = (
        "A variation of the removed call, in code that evaluates in two places (no report at hand)"
    )
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            HEAD + TWO,
            HEAD
            + TWO.replace("    return right.mean()", "    model.train()\n    return right.mean()").replace(
                "def predict(model, x):\n    model.eval()\n", "def predict(model, x):\n"
            ),
        ),
    )

    def _plan(self, script: Script, call: cst.Call) -> tuple[cst.CSTNode, cst.Call] | None:
        """Where validation has to restore training mode, so that the later call is needed at all."""
        for other in eval_switches(script):
            if other is call or not is_statement(script, other):
                continue
            anchor = evaluating(script, other)
            if anchor is None or switches_after(script, anchor):
                continue
            change = Change(skip=frozenset({call}), after={anchor: (other, "train")})
            if breaks(script, change) and not breaks(script, Change(after={anchor: (other, "train")})):
                return anchor, other
        return None

    def sites(self, script: Script) -> list[Site]:
        if len(eval_switches(script)) < 2:
            return []
        needed = each_needed(script)
        return [
            script.site(call)
            for call in eval_switches(script)
            if removable(script, call) and (call in needed or self._plan(script, call) is not None)
        ]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        removed = remove(script, call)
        if call in each_needed(script):
            return (removed,)
        plan = self._plan(script, call)
        assert plan is not None
        anchor, other = plan
        return tuple(sorted((removed, insert_after(script, anchor, f"{receiver(script, other)}.train()"))))


class TrainInstead(Manifestation):
    name: ClassVar[str] = "train_instead"
    summary: ClassVar[str] = "The line before evaluation says train() where it should say eval()."
    seen_in: ClassVar[str] = "Bug catalogue of this project: missing eval mode, toggled back"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(HEAD + PREDICT, HEAD + PREDICT.replace("model.eval()", "model.train()")),
    )

    def sites(self, script: Script) -> list[Site]:
        return [
            script.site(call)
            for call in eval_switches(script)
            if breaks(script, Change(becomes={call: "train"}))
        ]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        assert isinstance(call.func, cst.Attribute)
        if call.args:
            return (drop_argument(script, call, call.args[0]),)
        return (replace(script, call.func.attr, "train"),)


class SwitchedBack(Manifestation):
    name: ClassVar[str] = "switched_back"
    summary: ClassVar[str] = (
        "eval() is called, and a stray train() undoes it before or during the evaluation."
    )
    seen_in: ClassVar[str] = "Real reports: eval() followed by a stray train()"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            HEAD + PREDICT,
            HEAD
            + PREDICT.replace(
                "outputs.append(model(x))\n", "outputs.append(model(x))\n            model.train()\n"
            ),
        ),
        Example(
            HEAD + PREDICT,
            HEAD + PREDICT.replace("    outputs = []\n", "    outputs = []\n    model.train()\n"),
            choice=1,
        ),
    )

    def _places(self, script: Script, call: cst.Call) -> tuple[cst.CSTNode, ...]:
        """Statements behind which train() breaks the evaluation: the last of its loop, the one before it."""
        anchor = evaluating(script, call) if is_statement(script, call) else None
        if anchor is None:
            return ()
        places: list[cst.CSTNode] = []
        forwards = [one.call for world in clean_worlds(script) for one in world if one.switch is call]
        for forward in forwards:
            loops = [loop for loop in script.loop_stack(forward) if script.inside(loop, anchor)]
            if loops and not script.inside(call, loops[0]) and (body := script.statements(loops[0])):
                places.append(body[-1])
        statements = script.statements(script.block(call))
        before = statements[next(i for i, one in enumerate(statements) if one is anchor) - 1]
        if before is not script.statement(call):
            places.append(before)
        return tuple(
            place for place in dict.fromkeys(places) if breaks(script, Change(after={place: (call, "train")}))
        )

    def sites(self, script: Script) -> list[Site]:
        found = [(call, self._places(script, call)) for call in eval_switches(script)]
        return [script.site(call, choices=len(places)) for call, places in found if places]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        place = self._places(script, call)[choice]
        return (insert_after(script, place, f"{receiver(script, call)}.train()"),)


class EvalAfterwards(Manifestation):
    name: ClassVar[str] = "eval_afterwards"
    summary: ClassVar[str] = "eval() comes only after the evaluation it was meant for."
    seen_in: ClassVar[str] = "Bug catalogue of this project: missing eval mode, after the loop"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            HEAD + FULL,
            HEAD
            + FULL.replace("    model.eval()\n", "").replace(
                "        logits = model(x_test)\n", "        logits = model(x_test)\n    model.eval()\n"
            ),
        ),
    )

    def _anchor(self, script: Script, call: cst.Call) -> cst.CSTNode | None:
        if not is_statement(script, call) or not can_leave(script, call):
            return None
        anchor = evaluating(script, call)
        if anchor is None:
            return None
        change = Change(skip=frozenset({call}), after={anchor: (call, "eval")})
        return anchor if breaks(script, change) else None

    def sites(self, script: Script) -> list[Site]:
        return [script.site(call) for call in eval_switches(script) if self._anchor(script, call) is not None]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        anchor = self._anchor(script, call)
        assert anchor is not None
        return move(script, call, anchor, after=True)


class FunctionalIgnoresMode(Manifestation):
    name: ClassVar[str] = "functional_ignores_mode"
    summary: ClassVar[str] = "Functional dropout is not told the mode, so eval() does not reach it."
    seen_in: ClassVar[str] = "Real reports: eval() defeated by functional dropout"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(FUNCTIONAL + PREDICT, FUNCTIONAL.replace(", training=self.training", "") + PREDICT),
        Example(
            FUNCTIONAL + PREDICT,
            FUNCTIONAL.replace("training=self.training", "training=True") + PREDICT,
            choice=1,
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        found = []
        for call in script.calls(*MODE_ARGUMENTS):
            name = script.resolve(call.func) or ""
            given = argument(call, *MODE_ARGUMENTS[name])
            rate = argument(call, 1, "p") if "dropout" in name else None
            if given is None or not _reads_mode(script, given.value) or not evaluates(script):
                continue
            if rate is not None and never(rate.value):
                continue
            droppable = FUNCTIONAL_DROPOUT.get(name) == "True" and given is call.args[-1]
            found.append(script.site(call, choices=2 if droppable else 1))
        return found

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        given = argument(call, *MODE_ARGUMENTS[script.resolve(call.func) or ""])
        assert given is not None
        if site.choices == 2 and choice == 0:
            return (drop_argument(script, call, given),)
        return (replace_outer(script, given.value, "True"),)


def _reads_mode(script: Script, value: cst.CSTNode) -> bool:
    return not (isinstance(value, cst.Name) and value.value in ("True", "False"))


class DropoutMadeFunctional(Manifestation):
    name: ClassVar[str] = "dropout_made_functional"
    summary: ClassVar[str] = "A dropout layer became a functional call that always drops, whatever the mode."
    seen_in: ClassVar[str] = "Real reports: eval() defeated by functional dropout"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            HEAD + PREDICT,
            HEAD.replace("nn.Dropout(0.3)", "0.3").replace(
                "self.drop(F.relu(self.fc1(x)))", "F.dropout(F.relu(self.fc1(x)), self.drop)"
            )
            + PREDICT,
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        return [
            script.site(layer.call)
            for layer in layers(script)
            if layer.kind == "Dropout"
            and noisy_call(script, layer.call)
            and all(arg.keyword is None or arg.keyword.value == "p" for arg in layer.call.args)
            and len(layer.call.args) == 1
            and layer_uses(script, layer.call)
            and functional_name(script, layer.call)
            and evaluates(script)
        ]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        edits = [replace(script, call, script.text(call.args[0].value))]
        for use in layer_uses(script, call):
            layer = script.text(use.func)
            edits.append(replace(script, use.func, f"{functional_name(script, call)}.dropout"))
            edits.append(add_argument(script, use, layer))
        return tuple(sorted(edits))


class MissingEvalMode(Mutator):
    """Dropout and batch norm behave differently in training and in evaluation. A model that is not switched
    with `eval()` drops units at random while it predicts, and normalises each row with whatever rows happen
    to share its batch. Nothing crashes, and the accuracy is often close to the right one; but the same row
    gets another prediction each time, and the predictions depend on the batch. `torch.no_grad()` does not
    help: it has to do with gradients only."""

    bug_class = "missing_eval_mode"
    short = "eval"
    manifestations = (
        EvalRemoved(),
        OnePlaceForgotten(),
        TrainInstead(),
        SwitchedBack(),
        EvalAfterwards(),
        FunctionalIgnoresMode(),
        DropoutMadeFunctional(),
    )
