"""Evaluation runs in training mode: dropout still drops, batch norm still uses the batch."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst

from .analysis import Script, dotted
from .base import Example, Manifestation, Mutator, Site
from .bindings import origins
from .dropout_layers import functional_name, kept_as_layer, layer_uses
from .editing import (
    add_argument,
    argument,
    drop_argument,
    insert_after,
    insert_before,
    insert_first,
    move,
    replace,
    replace_outer,
)
from .eval_switches import (
    each_needed,
    eval_statements,
    eval_switches,
    evaluates,
    evaluating,
    receiver,
    removable,
    remove,
    switches_after,
    told_the_mode,
)
from .idioms import is_statement, layers, layers_of, module_classes
from .manual_resets import can_leave
from .mode_changes import breaks, clean_worlds
from .mode_examples import FULL, FUNCTIONAL, HEAD, PREDICT, TWO
from .mode_states import Change
from .modes import MODE_ARGUMENTS, noisy_call
from .sizes import is_used
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
        return [
            script.site(call, choices=2 if droppable else 1) for call, _, droppable in told_the_mode(script)
        ]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        given = argument(call, *MODE_ARGUMENTS[script.resolve(call.func) or ""])
        assert given is not None
        if site.choices == 2 and choice == 0:
            return (drop_argument(script, call, given),)
        return (replace_outer(script, given.value, "True"),)


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


class EvalNotCalled(Manifestation):
    name: ClassVar[str] = "eval_not_called"
    since: ClassVar[str] = "3"
    summary: ClassVar[str] = "The brackets of eval() are missing: the method is looked up and never called."
    seen_in: ClassVar[str] = (
        "What linters report as a useless attribute access (B018 of flake8-bugbear); the removed call again"
    )
    examples: ClassVar[tuple[Example, ...]] = (
        Example(HEAD + PREDICT, HEAD + PREDICT.replace("model.eval()", "model.eval")),
    )

    def sites(self, script: Script) -> list[Site]:
        return [script.site(call) for call in eval_statements(script)]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        return (replace(script, call, script.text(call.func)),)


class GuardInverted(Manifestation):
    name: ClassVar[str] = "guard_inverted"
    since: ClassVar[str] = "3"
    summary: ClassVar[str] = "eval() stands behind a condition that holds only where it is not needed."
    seen_in: ClassVar[str] = (
        "A variation of the removed call, in code that asks for the mode first (no report at hand)"
    )
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            HEAD + PREDICT,
            HEAD
            + PREDICT.replace("    model.eval()\n", "    if not model.training:\n        model.eval()\n"),
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        return [script.site(call) for call in eval_statements(script)]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        file = script.file(call)
        start = script.span(call)[0]
        indent = file.slice(file.line_start(start), start) + file.module.default_indent
        newline = file.module.default_newline
        condition = f"if not {receiver(script, call)}.training:{newline}"
        return (replace(script, call, f"{condition}{indent}{script.text(call)}"),)


class SwitchedInForward(Manifestation):
    name: ClassVar[str] = "switched_in_forward"
    since: ClassVar[str] = "3"
    summary: ClassVar[str] = "The model's own forward puts it, or one of its layers, into training mode."
    seen_in: ClassVar[str] = "Real reports: eval() followed by a stray train(); here inside the model"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            HEAD + PREDICT,
            HEAD.replace("        return self.fc2", "        self.drop.train()\n        return self.fc2")
            + PREDICT,
        ),
        Example(
            HEAD + PREDICT,
            HEAD.replace("        return self.fc2", "        self.train()\n        return self.fc2")
            + PREDICT,
            choice=1,
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        if not evaluates(script):
            return []
        return [
            script.site(layer.call, choices=2)
            for layer in layers(script)
            if noisy_call(script, layer.call)
            and layer.attribute is not None
            and is_used(script, layer)
            and kept_as_layer(script, layer)
            and self._forward(script, layer.call) is not None
        ]

    def _forward(self, script: Script, call: cst.Call) -> cst.FunctionDef | None:
        owner = script.class_of(call)
        forward = script.method(owner, "forward") if owner is not None else None
        return forward if forward is not None and script.statements(forward) else None

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        layer = next(one for one in layers(script) if one.call is call)
        forward = self._forward(script, call)
        assert forward is not None
        place = f"self.{layer.attribute}" if choice == 0 else "self"
        return (insert_first(script, forward, f"{place}.train()"),)


class ModeOverridden(Manifestation):
    name: ClassVar[str] = "mode_overridden"
    since: ClassVar[str] = "3"
    summary: ClassVar[str] = "The model overrides train() and forgets the mode, or eval() and does nothing."
    seen_in: ClassVar[str] = (
        "Models that override train() to keep layers frozen; a variation of it (no report at hand)"
    )
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            HEAD + PREDICT,
            HEAD.replace(
                "    def forward",
                "    def train(self, mode=True):\n"
                "        super().train()\n"
                "        return self\n\n"
                "    def forward",
            )
            + PREDICT,
        ),
        Example(
            HEAD + PREDICT,
            HEAD.replace("    def forward", "    def eval(self):\n        return self\n\n    def forward")
            + PREDICT,
            choice=1,
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        if not evaluates(script):
            return []
        every = module_classes(script)
        plain = all(
            isinstance(call.func, cst.Attribute) and call.func.attr.value == "eval"
            for call in eval_switches(script)
        )
        found = []
        for owner in every:
            forward = script.method(owner, "forward")
            unused = [one.call for one in layers(script) if one.owner is owner and not is_used(script, one)]
            own = [call for call in script.nodes(cst.Call, owner) if call not in unused]
            taken = any(script.method(owner, name) for name in ("train", "eval"))
            if forward is not None and not taken and any(noisy_call(script, call) for call in own):
                choices = 2 if plain and len(every) == 1 else 1
                found.append(script.site(forward.name, choices=choices))
        return found

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        forward = script.parent(script.node_at(site, cst.Name))
        assert isinstance(forward, cst.FunctionDef)
        file = script.file(forward)
        step = file.module.default_indent
        lines = ["def eval(self):", f"{step}return self"]
        if choice == 0:
            lines = ["def train(self, mode=True):", f"{step}super().train()", f"{step}return self"]
        method = insert_before(script, forward, "\n".join(lines))
        return (
            Edit(method.file, method.start, method.end, method.replacement + file.module.default_newline),
        )


class FunctionalInverted(Manifestation):
    name: ClassVar[str] = "functional_inverted"
    since: ClassVar[str] = "3"
    summary: ClassVar[str] = "Functional dropout is told the opposite of the mode: it drops while evaluating."
    seen_in: ClassVar[str] = "A variation of functional dropout that ignores the mode (no report at hand)"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            FUNCTIONAL + PREDICT,
            FUNCTIONAL.replace("training=self.training", "training=not self.training") + PREDICT,
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        return [
            script.site(call)
            for call, given, _ in told_the_mode(script)
            if (dotted(given.value) or "").rpartition(".")[2] == "training"
        ]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        given = next(arg for one, arg, _ in told_the_mode(script) if one is call)
        return (replace(script, given.value, f"not {script.text(given.value)}"),)


class PartSwitched(Manifestation):
    name: ClassVar[str] = "part_switched"
    since: ClassVar[str] = "3"
    summary: ClassVar[str] = "eval() is called on one layer; the rest of the model stays in training mode."
    seen_in: ClassVar[str] = "A variation of the removed call, in models of several parts (no report at hand)"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(HEAD + PREDICT, HEAD + PREDICT.replace("model.eval()", "model.fc1.eval()")),
        Example(HEAD + PREDICT, HEAD + PREDICT.replace("model.eval()", "model.fc2.eval()"), choice=1),
    )

    def _parts(self, script: Script, call: cst.Call) -> list[str]:
        """Attributes of the model that hold a layer which is the same in both modes: the first and last."""
        assert isinstance(call.func, cst.Attribute)
        made = {
            script.definition(one.func)
            for one in origins(script, call.func.value)
            if isinstance(one, cst.Call)
        }
        owner = made.pop() if len(made) == 1 else None
        if not isinstance(owner, cst.ClassDef):
            return []
        names = [
            layer.attribute
            for layer in layers_of(script, owner)
            if layer.attribute and kept_as_layer(script, layer) and is_used(script, layer)
        ]
        calm = [
            name
            for name in dict.fromkeys(names)
            if not any(
                noisy_call(script, layer.call)
                for layer in layers_of(script, owner)
                if layer.attribute == name
            )
        ]
        return list(dict.fromkeys((calm[0], calm[-1]))) if calm else []

    def sites(self, script: Script) -> list[Site]:
        found = [(call, self._parts(script, call)) for call in eval_statements(script)]
        return [script.site(call, choices=len(parts)) for call, parts in found if parts]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        call = script.node_at(site, cst.Call)
        part = self._parts(script, call)[choice]
        return (replace(script, call, f"{receiver(script, call)}.{part}.eval()"),)


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
        EvalNotCalled(),
        GuardInverted(),
        SwitchedInForward(),
        ModeOverridden(),
        FunctionalInverted(),
        PartSwitched(),
    )
