"""Shapes that do not fit: a layer that expects another size, an axis too many, an axis too few."""

from __future__ import annotations

import libcst as cst

from .analysis import Script
from .base import Mutator
from .editing import add_argument, argument, drop_argument, replace, unwrap
from .example_scripts import CLASSIFIER, IMAGES, SEQUENCES, example
from .flow import flow, training_inputs
from .idioms import ELEMENTWISE, layers, layers_of, module_classes, training_losses
from .listed import Candidates, Listed
from .shape_edits import (
    CONVOLUTIONS,
    NORMS,
    RECURRENT,
    axis_read,
    flatten_dims,
    gets_state,
    is_method,
    must_fit,
    reads_batch,
    replaced,
    without_element,
    without_step,
    wrong_at_callers,
    wrong_input,
)
from .sizes import batch_size_text, forwards, is_used, swapped, wrong_sizes

ONE_SHAPE = ELEMENTWISE | {"binary_cross_entropy", "binary_cross_entropy_with_logits"}
"""Losses that want prediction and target of one shape; the elementwise ones broadcast in silence."""


class WrongInFeatures(Listed):
    name = "wrong_in_features"
    summary = "A Linear layer expects another number of features than the layer before it gives."
    seen_in = "Humbatova 2020 (shape faults: 20 of 53 torch faults); NeuraLint"
    examples = (
        example(IMAGES, ("nn.Linear(4 * 6 * 6, 10)", "nn.Linear(4 * 6, 10)")),
        example(CLASSIFIER, ("nn.Linear(8, 16)", "nn.Linear(16, 16)")),
    )

    def candidates(self, script: Script) -> Candidates:
        for layer in layers(script):
            if layer.kind == "Linear" and is_used(script, layer):
                yield layer.call, wrong_input(script, layer, "in_features", "out_features")


class WrongChannels(Listed):
    name = "wrong_channels"
    summary = "A convolution expects another number of channels than its input has."
    seen_in = "Humbatova 2020; UMLAUT"
    examples = (example(IMAGES, ("nn.Conv2d(1, 4, 3)", "nn.Conv2d(3, 4, 3)"), choice=1),)

    def candidates(self, script: Script) -> Candidates:
        for layer in layers(script):
            if layer.kind not in CONVOLUTIONS or not is_used(script, layer):
                continue
            if argument(layer.call, 6, "groups") is not None:
                continue  # a size the groups do not divide fails when the layer is built
            yield layer.call, wrong_input(script, layer, "in_channels", "out_channels")
            yield from wrong_at_callers(script, layer, "in_channels")


class WrongInputSize(Listed):
    name = "wrong_input_size"
    summary = "A recurrent layer is built for another number of inputs per step."
    seen_in = "Humbatova 2020; PyTorch forum, 'input.size(-1) must be equal to input_size'"
    examples = (
        example(SEQUENCES, ("nn.GRU(n_inputs, hidden,", "nn.GRU(2 * n_inputs, hidden,")),
        example(SEQUENCES, ("nn.GRU(n_inputs, hidden,", "nn.GRU(hidden, n_inputs,"), choice=3),
    )

    def candidates(self, script: Script) -> Candidates:
        for layer in layers(script):
            if layer.kind in RECURRENT and is_used(script, layer):
                yield layer.call, wrong_input(script, layer, "input_size", "hidden_size")


class WrongNormFeatures(Listed):
    name = "wrong_norm_features"
    summary = "A normalisation layer was left at another width than the layer it follows."
    seen_in = "PyTorch forum, 'running_mean should contain … elements'; NeuraLint"
    examples = (example(IMAGES, ("nn.BatchNorm2d(4)", "nn.BatchNorm2d(8)")),)

    def candidates(self, script: Script) -> Candidates:
        for layer in layers(script):
            size = argument(
                layer.call, 0, "normalized_shape" if layer.kind == "LayerNorm" else "num_features"
            )
            if layer.kind not in NORMS or size is None or not is_used(script, layer):
                continue
            if not isinstance(size.value, (cst.List, cst.Tuple)):
                yield layer.call, replaced(script, size.value, wrong_sizes(script, size.value))


class WrongDataAxis(Listed):
    name = "wrong_data_axis"
    summary = "The size of the model's input is read from the wrong axis of the data."
    seen_in = (
        "Humbatova 2020 (wrong tensor shape); PyTorch forum, 'mat1 and mat2 shapes cannot be multiplied'"
    )
    examples = (example(SEQUENCES, ("Net(x.shape[2])", "Net(x.shape[1])")),)

    def candidates(self, script: Script) -> Candidates:
        builders = [layer.call for layer in layers(script)]
        builders += [call for owner in module_classes(script) for call in script.callers(owner)]
        fitting = must_fit(script)
        for call in builders:
            for arg in call.args:
                axis = axis_read(arg.value)
                if axis is None or arg.value not in fitting:
                    continue
                now = int(axis.value)
                others = [now - 1, 0] if now > 0 else [1]
                texts = [str(one) for one in dict.fromkeys(others) if one != now]
                yield arg.value, replaced(script, axis, texts)


class FlattenWrong(Listed):
    name = "flatten_wrong"
    summary = "Feature maps reach a Linear layer unflattened, or flattened from the wrong axis on."
    seen_in = "Humbatova 2020; Stack Overflow, 'mat1 and mat2 shapes cannot be multiplied'"
    examples = (
        example(IMAGES, ("        x = torch.flatten(x, 1)\n", "")),
        example(IMAGES, ("torch.flatten(x, 1)", "torch.flatten(x)"), choice=1),
        example(IMAGES, ("torch.flatten(x, 1)", "torch.flatten(x, 2)"), choice=2),
    )

    def candidates(self, script: Script) -> Candidates:
        for layer in layers(script):
            if layer.kind == "Flatten":
                yield (
                    layer.call,
                    [*without_element(script, layer.call), *flatten_dims(script, layer.call, 0)],
                )
        for forward in forwards(script):
            for call in script.calls("torch.flatten", within=forward):
                yield call, [without_step(script, call), *flatten_dims(script, call, 1)]
            for call in script.method_calls("flatten", within=forward):
                yield call, [without_step(script, call), *flatten_dims(script, call, 0)]
            for call in script.method_calls("view", "reshape", within=forward):
                if len(call.args) == 2 and script.text(call.args[1].value) == "-1":
                    yield call, [without_step(script, call)]


class SqueezeDropped(Listed):
    name = "squeeze_dropped"
    summary = "Predictions keep a last axis of one, and the loss broadcasts them against all targets."
    seen_in = "PyTorch forum, 'Using a target size that is different to the input size'; TrainCheck"
    examples = (example(SEQUENCES, ("self.head(pooled).squeeze(-1)", "self.head(pooled)")),)

    def candidates(self, script: Script) -> Candidates:
        losses = [loss for loss in training_losses(script) if loss.kind in ONE_SHAPE]
        if not losses:
            return
        passed = [origin.node for loss in losses for origin in flow(script, loss.output)]
        returned = [
            one.value
            for forward in forwards(script)
            for one in script.nodes(cst.Return, forward)
            if one.value is not None
        ]
        for node in dict.fromkeys([*passed, *returned]):
            if is_method(script, node, "squeeze"):
                yield node, [[unwrap(script, node)]]


class TargetUnsqueezed(Listed):
    name = "target_unsqueezed"
    summary = "The target gets an axis that the prediction does not have."
    seen_in = "PyTorch forum, '0D or 1D target tensor expected, multi-target not supported'; TrainCheck"
    examples = (
        example(SEQUENCES, ("criterion(model(xb), yb)", "criterion(model(xb), yb.unsqueeze(1))")),
        example(IMAGES, ("(model(images), targets)", "(model(images), targets.reshape(-1, 1))"), choice=1),
    )

    def candidates(self, script: Script) -> Candidates:
        for loss in training_losses(script):
            if isinstance(loss.target, (cst.Name, cst.Attribute, cst.Subscript, cst.Call)):
                texts = [".unsqueeze(1)"]
                texts += ["[:, None]"] if loss.kind in ONE_SHAPE else [".reshape(-1, 1)"]
                text = script.text(loss.target)
                yield loss.target, replaced(script, loss.target, [text + end for end in texts])


class AxisKept(Listed):
    name = "axis_kept"
    summary = "An axis that should vanish stays with size one, through keepdim or a slice for an index."
    seen_in = "Bug catalogue 2 (loss broadcast through keepdim); TrainCheck"
    examples = (
        example(SEQUENCES, ("out.mean(dim=1)", "out.mean(dim=1, keepdim=True)")),
        example(
            SEQUENCES.replace("out.mean(dim=1)", "out[:, -1]"),
            ("out[:, -1]", "out[:, -1:]"),
        ),
    )

    def candidates(self, script: Script) -> Candidates:
        for forward in forwards(script):
            for call in script.method_calls("mean", "sum", "amax", "amin", within=forward):
                if argument(call, 0, "dim") is not None and argument(call, 1, "keepdim") is None:
                    yield call, [[add_argument(script, call, "keepdim=True")]]
            for node in script.nodes(cst.Subscript, forward):
                if len(node.slice) > 1 and isinstance(node.slice[0].slice, cst.Slice):
                    last = node.slice[-1].slice
                    if isinstance(last, cst.Index) and script.text(last.value) == "-1":
                        yield node, [[replace(script, last.value, "-1:")]]
                    elif isinstance(last, cst.Index) and script.text(last.value) == "0":
                        yield node, [[replace(script, last.value, ":1")]]


class FixedBatch(Listed):
    name = "fixed_batch"
    summary = "The training batch size is written into the model, which fails at the first other batch."
    seen_in = "PyTorch forum, 'Expected hidden[0] size'; catalogue 1 (fixed batch in view)"
    examples = (
        example(
            SEQUENCES, ("torch.zeros(1, x.size(0), self.hidden", "torch.zeros(1, batch_size, self.hidden")
        ),
    )

    def candidates(self, script: Script) -> Candidates:
        for forward in forwards(script):
            text = batch_size_text(script, forward)
            if text is None:
                continue
            for call in script.nodes(cst.Call, forward):
                for arg in call.args:
                    if reads_batch(script, arg.value):
                        yield arg.value, [[replace(script, arg.value, text)]]


class WrongHiddenState(Listed):
    name = "wrong_hidden_state"
    summary = "The first state of a recurrent layer has its axes swapped, one missing, or another width."
    seen_in = "PyTorch forum, 'Expected hidden size (1, 32, 16), got [32, 1, 16]'; Humbatova 2020"
    examples = (
        example(SEQUENCES, ("torch.zeros(1, x.size(0), self", "torch.zeros(x.size(0), 1, self")),
        example(SEQUENCES, ("torch.zeros(1, x.size(0), self", "torch.zeros(x.size(0), self"), choice=1),
        example(SEQUENCES, ("x.size(0), self.hidden,", "x.size(0), 2 * self.hidden,"), choice=2),
    )

    def candidates(self, script: Script) -> Candidates:
        for forward in forwards(script):
            owner = script.class_of(forward)
            if owner is None or not any(one.kind in RECURRENT for one in layers_of(script, owner)):
                continue
            for call in script.calls("torch.zeros", "torch.randn", "torch.ones", within=forward):
                sizes = [arg for arg in call.args if arg.keyword is None and not arg.star]
                if len(sizes) == 3:
                    widths = replaced(script, sizes[2].value, wrong_sizes(script, sizes[2].value)[:1])
                    swap = swapped(script, sizes[0].value, sizes[1].value)
                    yield call, [*swap, [drop_argument(script, call, sizes[0])], *widths]


class BatchFirstDropped(Listed):
    name = "batch_first_dropped"
    summary = "A recurrent layer takes the batch for its time axis and meets a first state of another shape."
    seen_in = "Bug catalogue 3 (batch_first); PyTorch forum, 'Expected hidden size'"
    examples = (
        example(SEQUENCES, ("nn.GRU(n_inputs, hidden, batch_first=True)", "nn.GRU(n_inputs, hidden)")),
    )

    def candidates(self, script: Script) -> Candidates:
        for layer in layers(script):
            arg = argument(layer.call, None, "batch_first")
            if layer.kind not in RECURRENT or arg is None or script.text(arg.value) != "True":
                continue
            if gets_state(script, layer):  # without one nothing crashes, it runs along the other axis
                yield layer.call, [[drop_argument(script, layer.call, arg)]]


class ChannelAxisMissing(Listed):
    name = "channel_axis_missing"
    summary = "Grey images reach a convolution without their channel axis."
    seen_in = "PyTorch forum, 'expected input[1, 32, 28, 28] to have 1 channels'; Humbatova 2020"
    examples = (example(IMAGES, ("pixels.unsqueeze(1)", "pixels")),)

    def candidates(self, script: Script) -> Candidates:
        if not any(layer.kind in CONVOLUTIONS for layer in layers(script)):
            return
        nodes = [origin.node for end in training_inputs(script) for origin in flow(script, end)]
        for node in dict.fromkeys(nodes):
            if is_method(script, node, "unsqueeze"):
                yield node, [[unwrap(script, node)]]


class ShapeMismatch(Mutator):
    """Two tensors that meet have shapes that do not fit. Mostly the job stops with an exception at the first
    batch, at the first batch of another size, or when it first evaluates; where a loss broadcasts instead,
    it trains on every pair of prediction and target, and the model learns the mean."""

    bug_class = "shape_mismatch"
    short = "shape"
    manifestations = (
        WrongInFeatures(),
        WrongChannels(),
        WrongInputSize(),
        WrongNormFeatures(),
        WrongDataAxis(),
        FlattenWrong(),
        SqueezeDropped(),
        TargetUnsqueezed(),
        AxisKept(),
        FixedBatch(),
        WrongHiddenState(),
        BatchFirstDropped(),
        ChannelAxisMissing(),
    )
