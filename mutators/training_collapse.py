"""Training that runs to its end and teaches the model next to nothing."""

from __future__ import annotations

from decimal import Decimal

import libcst as cst

from .analysis import Script, dotted
from .base import Mutator
from .collapse_places import atom, has_softmax, indexed, local_name, other_order, outputs, setting, times
from .editing import add_argument, argument, insert_after, insert_last, move, replace, replace_outer
from .example_scripts import CLASSIFIER, IMAGES, SEQUENCES, example
from .flow import training_inputs
from .idioms import (
    ELEMENTWISE,
    calls_on,
    is_statement,
    models,
    optimizers,
    training_losses,
    training_steps,
)
from .listed import Candidates, Listed
from .roles import learns

MAXIMIZING = frozenset({"Adam", "AdamW", "SGD", "NAdam", "RAdam", "Adagrad", "Adadelta", "RMSprop", "Adamax"})
"""Optimizers that take `maximize=`."""


class LearningRateTooHigh(Listed):
    name = "learning_rate_too_high"
    summary = "The learning rate is some hundred times too high; the loss jumps about or turns to NaN."
    seen_in = "DeepCrime (learning rate); Humbatova 2020 (hyper-parameters: 86% of practitioners)"
    factors = (Decimal(100), Decimal(1000))
    examples = (example(IMAGES, ("lr=0.1", "lr=100.0"), choice=1),)

    def candidates(self, script: Script) -> Candidates:
        for optimizer in optimizers(script):
            literal = setting(script, optimizer, "lr", 1)
            if literal is not None:
                yield literal, [[replace(script, literal, times(literal, one))] for one in self.factors]


class LearningRateTooLow(LearningRateTooHigh):
    name = "learning_rate_too_low"
    summary = "The learning rate is thousands of times too low; the model stays as it was initialised."
    seen_in = "DeepCrime (learning rate); UMLAUT"
    factors = (Decimal("0.0001"), Decimal("0.00001"))
    examples = (example(IMAGES, ("lr=0.1", "lr=1e-5")),)


class GradientAscent(Listed):
    name = "gradient_ascent"
    summary = "The loss has the wrong sign, or the optimizer maximizes it."
    seen_in = "Bug catalogue 12 (sign); Humbatova 2020 (wrong loss calculation)"
    examples = (
        example(CLASSIFIER, ("loss = criterion(", "loss = -criterion(")),
        example(CLASSIFIER, ("lr=1e-3)", "lr=1e-3, maximize=True)")),
    )

    def candidates(self, script: Script) -> Candidates:
        for loss in training_losses(script):
            if isinstance(script.parent(loss.call), (cst.Assign, cst.Return)):
                yield loss.call, [[replace(script, loss.call, f"-{script.text(loss.call)}")]]
        for optimizer in optimizers(script):
            if optimizer.kind in MAXIMIZING and argument(optimizer.call, None, "maximize") is None:
                yield optimizer.call, [[add_argument(script, optimizer.call, "maximize=True")]]


class ZeroInitialisation(Listed):
    name = "zero_initialisation"
    summary = "All parameters start at zero, so no hidden unit ever gets a gradient."
    seen_in = "DeepCrime (weights initialisation); NeuraLint; bug catalogue 25"
    examples = (
        example(
            IMAGES,
            (
                "model = Net()\n",
                "model = Net()\nfor parameter in model.parameters():\n    nn.init.zeros_(parameter)\n",
            ),
        ),
        example(
            IMAGES,
            (
                "self.fc = nn.Linear(4 * 6 * 6, 10)\n",
                "self.fc = nn.Linear(4 * 6 * 6, 10)\n"
                "        for parameter in self.parameters():\n"
                "            nn.init.constant_(parameter, 0.0)\n",
            ),
        ),
    )

    def candidates(self, script: Script) -> Candidates:
        if script.calls("torch.nn.functional.normalize") or not training_losses(script):
            return  # of a zero vector, or of differences of scores, there may be no gradient at all
        for model in models(script):
            owner = model.definition
            if isinstance(owner, cst.ClassDef) and not learns(script, owner):
                continue
            nn = local_name(script, model.assignment, "torch.nn")
            if nn is not None:
                text = f"for parameter in {model.name}.parameters():\n    {nn}.init.zeros_(parameter)"
                yield model.call, [[insert_after(script, model.assignment, text)]]
            init = script.method(owner, "__init__") if isinstance(owner, cst.ClassDef) else None
            nn = local_name(script, init, "torch.nn") if init is not None else None
            if init is not None and nn is not None and script.statements(init):
                text = f"for parameter in self.parameters():\n    {nn}.init.constant_(parameter, 0.0)"
                yield script.statements(init)[-1], [[insert_last(script, init, text)]]


class PairsTornApart(Listed):
    name = "pairs_torn_apart"
    summary = "Inputs and labels are taken in two different orders, so the labels mean nothing."
    seen_in = "Bug catalogue 19 (x, y shuffled apart); Humbatova 2020 (training data: 95% of practitioners)"
    examples = (
        example(CLASSIFIER, ("y[pick].to", "y[i : i + 16].to")),
        example(
            SEQUENCES.replace("import torch\n", "import numpy as np\nimport torch\n", 1)
            .replace(
                "batch_size = 16\n", "batch_size = 16\nrows = np.random.default_rng(0).permutation(100)\n"
            )
            .replace("torch.randn(100, 12, 5)", "torch.randn(100, 12, 5)[rows]")
            .replace("torch.randn(100).to", "torch.randn(100)[rows].to"),
            ("torch.randn(100)[rows]", "torch.randn(100)[np.sort(rows)]"),
        ),
    )

    def candidates(self, script: Script) -> Candidates:
        shared = {
            (script.scope(node), script.text(node.slice[0].slice))
            for end in training_inputs(script)
            for node in indexed(script, end)
        }
        for loss in training_losses(script):
            for node in indexed(script, loss.target):
                index = node.slice[0].slice
                if (script.scope(node), script.text(index)) in shared and isinstance(index, cst.Index):
                    text = other_order(script, node, index.value)
                    if text is not None:
                        yield node, [[replace(script, index, text)]]


class SoftmaxBeforeCrossEntropy(Listed):
    name = "softmax_before_cross_entropy"
    summary = "A softmax over the batch stands before cross entropy, which takes its own over the classes."
    seen_in = "Humbatova 2020 (wrong loss input); UMLAUT; NeuraLint; bug catalogue 11"
    examples = (example(CLASSIFIER, ("criterion(logits, yb)", "criterion(logits.softmax(dim=0), yb)")),)

    def candidates(self, script: Script) -> Candidates:
        for loss in training_losses(script):
            if loss.kind == "cross_entropy" and not has_softmax(script, loss.output):
                text = f"{atom(script, loss.output)}.softmax(dim=0)"
                yield loss.output, [[replace_outer(script, loss.output, text)]]


class SoftmaxOutput(Listed):
    name = "softmax_output"
    summary = "The network ends in a softmax, and cross entropy takes another one of its probabilities."
    seen_in = "Humbatova 2020 (wrong loss input); UMLAUT; NeuraLint; bug catalogue 11"
    examples = (
        example(IMAGES, ("return self.fc(x)", "return self.fc(x).softmax(dim=1)")),
        example(IMAGES, ("return self.fc(x)", "return self.fc(x).softmax(-1)"), choice=1),
    )

    def candidates(self, script: Script) -> Candidates:
        losses = training_losses(script)
        if not losses or any(loss.kind != "cross_entropy" for loss in losses):
            return
        if any(has_softmax(script, loss.output) for loss in losses):
            return
        for value in outputs(script):
            if not has_softmax(script, value):
                text = atom(script, value)
                choices = (f"{text}.softmax(dim=1)", f"{text}.softmax(-1)")
                yield value, [[replace_outer(script, value, one)] for one in choices]


class OutputActivation(Listed):
    name = "output_activation"
    summary = "The output of a regression passes through an activation that cannot reach its targets."
    seen_in = "Bug catalogue 25 (saturated); NeuraLint (activation of the last layer)"
    examples = (example(SEQUENCES, ("squeeze(-1)", "squeeze(-1).sigmoid()")),)

    def candidates(self, script: Script) -> Candidates:
        if not any(loss.kind in ELEMENTWISE for loss in training_losses(script)):
            return
        for value in outputs(script):
            text = atom(script, value)
            yield value, [[replace_outer(script, value, f"{text}.{name}()")] for name in ("sigmoid", "relu")]


class HeadOnly(Listed):
    name = "head_only"
    summary = "The features are detached before the last layer, so nothing below it ever learns."
    seen_in = "Bug catalogue 10 (broken gradient flow); TrainCheck"
    examples = (example(IMAGES, ("return self.fc(x)", "return self.fc(x.detach())")),)

    def candidates(self, script: Script) -> Candidates:
        for value in outputs(script):
            for call in script.nodes(cst.Call, value):
                name = dotted(call.func) or ""
                if name.startswith("self.") and len(call.args) == 1 and script.inside(call, value):
                    inner = call.args[0].value
                    yield inner, [[replace_outer(script, inner, f"{atom(script, inner)}.detach()")]]
                    break


class WeightDecayTooStrong(Listed):
    name = "weight_decay_too_strong"
    summary = "Weight decay is so strong that it undoes each step."
    seen_in = "DeepCrime (regularisation); Humbatova 2020 (hyper-parameters)"
    examples = (
        example(IMAGES, ("weight_decay=1e-4", "weight_decay=50.0")),
        example(SEQUENCES, ("lr=1e-2)", "lr=1e-2, weight_decay=100.0)"), choice=1),
    )

    def candidates(self, script: Script) -> Candidates:
        for optimizer in optimizers(script):
            if optimizer.kind not in {"Adam", "AdamW", "SGD", "NAdam", "RAdam", "RMSprop"}:
                continue
            literal, texts = setting(script, optimizer, "weight_decay", None), ("50.0", "100.0")
            if literal is not None:
                yield literal, [[replace(script, literal, text)] for text in texts]
            elif argument(optimizer.call, None, "weight_decay") is None:
                call = optimizer.call
                yield call, [[add_argument(script, call, f"weight_decay={text}")] for text in texts]


class MomentumTooHigh(Listed):
    name = "momentum_too_high"
    summary = "Momentum above one: every step is larger than the last."
    seen_in = "DeepCrime (optimiser settings); Humbatova 2020 (hyper-parameters)"
    examples = (example(IMAGES, ("momentum=0.9", "momentum=1.9"), choice=1),)

    def candidates(self, script: Script) -> Candidates:
        for optimizer in optimizers(script):
            literal = setting(script, optimizer, "momentum", 2 if optimizer.kind == "SGD" else None)
            if optimizer.kind in {"SGD", "RMSprop"} and literal is not None:
                yield literal, [[replace(script, literal, text)] for text in ("1.2", "1.9")]


class SchedulerPerBatch(Listed):
    name = "scheduler_per_batch"
    summary = "A schedule meant for epochs is stepped after every batch, and the rate is gone at once."
    seen_in = "Bug catalogue 22 (scheduler misuse); PyTorch forum on scheduler.step()"
    examples = (example(SEQUENCES, ("    scheduler.step()\n", "        scheduler.step()\n")),)

    def candidates(self, script: Script) -> Candidates:
        for step in training_steps(script):
            if step.batch_loop is None or step.epoch_loop is None or step.batch_loop is step.epoch_loop:
                continue
            for call in calls_on(script, "scheduler", "step"):
                body = script.statements(step.batch_loop)
                beside = (
                    script.loop_stack(call)[:1] == script.loop_stack(step.batch_loop)[:1] == [step.epoch_loop]
                )
                if is_statement(script, call) and not call.args and body and beside:
                    yield call, [move(script, call, body[-1], after=True)]


class TrainingCollapse(Mutator):
    """Nothing crashes, the loop runs to its end, and the model is no better than a guess: the loss does not
    fall, turns to NaN, or falls for the wrong reason. Gradients are fresh, shapes and devices are right; the
    fault lies in a rate, a sign, a start value, an activation, or in what is paired with what."""

    bug_class = "training_collapse"
    short = "collapse"
    manifestations = (
        LearningRateTooHigh(),
        LearningRateTooLow(),
        GradientAscent(),
        ZeroInitialisation(),
        PairsTornApart(),
        SoftmaxBeforeCrossEntropy(),
        SoftmaxOutput(),
        OutputActivation(),
        HeadOnly(),
        WeightDecayTooStrong(),
        MomentumTooHigh(),
        SchedulerPerBatch(),
    )
