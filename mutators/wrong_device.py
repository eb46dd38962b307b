"""Tensors that meet on two devices, or work that never reaches the accelerator."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from .analysis import Script, dotted
from .base import Mutator
from .bindings import values
from .editing import delete_statement, drop_argument, replace, unwrap
from .example_scripts import CLASSIFIER, IMAGES, SEQUENCES, example
from .flow import flow
from .listed import Alternatives, Listed
from .moves import arguments_device, ends_of, is_index, is_move, moved_value, to_cpu
from .roles import is_module_class, role
from .workspace import Edit

Candidates = Iterator[tuple[cst.CSTNode, Alternatives]]

FACTORIES = frozenset(
    f"torch.{name}"
    for name in ("zeros", "ones", "full", "empty", "eye", "rand", "randn", "arange", "linspace", "tensor")
)
"""Functions that make a tensor on the CPU unless told otherwise (`zeros_like` follows its argument)."""

STATISTICS = frozenset({"mean", "std", "var", "amin", "amax", "sum"})


class ModelNotMoved(Listed):
    name = "model_not_moved"
    summary = "The model's parameters stay on the CPU while the batches go to the GPU."
    seen_in = "Humbatova 2020 (missing transfer to the GPU; half of the practitioners had met it)"
    examples = (
        example(IMAGES, ("model.to(device)\n", "")),
        example(CLASSIFIER, ("nn.Linear(16, 3)).to(device)", "nn.Linear(16, 3))")),
    )

    def candidates(self, script: Script) -> Candidates:
        for call in script.method_calls("to", "cuda"):
            if is_move(script, call) and role(script, moved_value(call)) == "model":
                yield call, [_unmoved(script, call)]


class InputNotMoved(Listed):
    name = "input_not_moved"
    summary = "The inputs of training stay on the CPU while the model is on the GPU."
    seen_in = "Humbatova 2020; PyTorch forum, 'Input type and weight type should be the same'"
    examples = (
        example(IMAGES, ("        images = images.to(device)\n", "")),
        example(CLASSIFIER, ("x[pick].to(device)", "x[pick]")),
    )

    def candidates(self, script: Script) -> Candidates:
        for call in ends_of(script).inputs:
            yield call, [_unmoved(script, call)]


class TargetNotMoved(Listed):
    name = "target_not_moved"
    summary = "The inputs are moved to the GPU, the targets are forgotten."
    seen_in = "Humbatova 2020; PyTorch forum, 'Expected all tensors to be on the same device'"
    examples = (
        example(IMAGES, ("        targets = targets.to(device)\n", "")),
        example(CLASSIFIER, ("y[pick].to(device)", "y[pick]")),
    )

    def candidates(self, script: Script) -> Candidates:
        for call in ends_of(script).targets:
            yield call, [_unmoved(script, call)]


class EvaluationNotMoved(Listed):
    name = "evaluation_not_moved"
    summary = (
        "Training moves its batches, evaluation or prediction does not, and fails after the first epoch."
    )
    seen_in = "PyTorch forum, device errors in the validation loop; Humbatova 2020"
    examples = (example(CLASSIFIER, ("model(x.to(device))", "model(x)")),)

    def candidates(self, script: Script) -> Candidates:
        for call in ends_of(script).evaluation:
            yield call, [_unmoved(script, call)]


class MadeOnCpu(Listed):
    name = "made_on_cpu"
    summary = "A tensor made on the way (a first state, a mask, positions) is made on the CPU."
    seen_in = (
        "Bug catalogue 4 (tensor made in forward); PyTorch forum, 'hidden and input on different devices'"
    )
    examples = (example(SEQUENCES, ("self.hidden, device=x.device)", "self.hidden)")),)

    def candidates(self, script: Script) -> Candidates:
        for call in script.calls(*sorted(FACTORIES)):
            arg = arguments_device(call)
            scalar = call.args and isinstance(call.args[0].value, (cst.Integer, cst.Float))
            if script.resolve(call.func) == "torch.tensor" and scalar:
                continue  # a 0-dim tensor may stay on the CPU
            if arg is not None and not is_index(script, call):
                yield call, [[drop_argument(script, call, arg)]]
        for call in script.method_calls("to", "cuda"):
            value = moved_value(call)
            made = isinstance(value, cst.Call) and script.resolve(value.func) in FACTORIES
            if made and is_move(script, call) and not is_index(script, call):
                yield call, [[unwrap(script, call)]]


class StatisticsOnCpu(Listed):
    name = "statistics_on_cpu"
    summary = "Means, deviations or weights are computed from the data on the CPU and used on the GPU."
    seen_in = "PyTorch forum, class weights and normalisation constants on the CPU; Humbatova 2020"
    examples = (
        example(
            SEQUENCES.replace("model = Net", "mean = x.mean(dim=(0, 1))\nx = x - mean\nmodel = Net").replace(
                "x, y = torch.randn(100, 12, 5).to(device), ",
                "data = torch.randn(100, 12, 5)\nx, y = data.to(device), ",
            ),
            ("mean = x.mean(", "mean = data.mean("),
        ),
        example(
            CLASSIFIER.replace("Loss()", "Loss(weight=torch.bincount(y).float().to(device))"),
            (".float().to(device)", ".float()"),
        ),
    )

    def candidates(self, script: Script) -> Candidates:
        for call in script.method_calls(*sorted(STATISTICS)):
            # Over all axes the result is 0-dim, and that may stay on the CPU.
            if isinstance(call.func, cst.Attribute) and isinstance(call.func.value, cst.Name) and call.args:
                before = _before_move(script, call.func.value)
                if before is not None:
                    yield call, [[replace(script, call.func.value, script.text(before))]]
        for call in script.calls():
            if role(script, call) == "criterion":
                for arg in call.args:
                    for origin in flow(script, arg.value):
                        if is_move(script, origin.node):
                            yield origin.node, [_unmoved(script, origin.node)]


class CpuDropped(Listed):
    name = "cpu_dropped"
    summary = "A tensor on the GPU is turned into a numpy array without `.cpu()`."
    seen_in = 'Stack Overflow, "can\'t convert cuda:0 device type tensor to numpy"; Humbatova 2020'
    examples = (example(CLASSIFIER, ("argmax(dim=1).cpu().numpy()", "argmax(dim=1).numpy()")),)

    def candidates(self, script: Script) -> Candidates:
        ends = [call for call in script.method_calls("numpy") if isinstance(call.func, cst.Attribute)]
        for end in ends:
            assert isinstance(end.func, cst.Attribute)
            moves = [origin.node for origin in flow(script, end.func.value) if to_cpu(script, origin.node)]
            if len(dict.fromkeys(moves)) == 1 and isinstance(moves[0], cst.Call):
                yield moves[0], [[unwrap(script, moves[0])]]


class BufferUnregistered(Listed):
    name = "buffer_unregistered"
    summary = "A constant of the model is a plain attribute, so `model.to(device)` leaves it behind."
    seen_in = "Bug catalogue 4 (attribute instead of buffer); PyTorch forum on register_buffer"
    examples = (
        example(
            SEQUENCES,
            ('self.register_buffer("offset", torch.zeros(n_inputs))', "self.offset = torch.zeros(n_inputs)"),
        ),
    )

    def candidates(self, script: Script) -> Candidates:
        for call in script.method_calls("register_buffer"):
            owner = script.class_of(call)
            if owner is None or not is_module_class(script, owner) or len(call.args) < 2:
                continue
            name = call.args[0].value
            if isinstance(name, cst.SimpleString) and isinstance(script.parent(call), cst.Expr):
                attribute = str(name.evaluated_value)
                text = f"self.{attribute} = {script.text(call.args[1].value)}"
                yield call, [[replace(script, call, text)]]


class WrongDevice(Mutator):
    """Some tensors are on the accelerator and some are not. Where two of them meet in one operation, or where
    numpy asks for memory that lies on the accelerator, the job stops with an exception that names both
    devices. On a machine without an accelerator everything works, which is why these bugs get released."""

    bug_class = "wrong_device"
    short = "device"
    manifestations = (
        ModelNotMoved(),
        InputNotMoved(),
        TargetNotMoved(),
        EvaluationNotMoved(),
        MadeOnCpu(),
        StatisticsOnCpu(),
        CpuDropped(),
        BufferUnregistered(),
    )


# -- helpers ---------------------------------------------------------------------------------------------


def _unmoved(script: Script, move: cst.CSTNode) -> list[Edit]:
    """Drop `x.to(device)` or `x = x.to(device)` with its line, the same among others (`a, b = …`), or leave
    `x` where the call is part of something larger."""
    value, small = moved_value(move), script.small_statement(move)
    if isinstance(small, cst.Expr) and small.value is move:
        return [delete_statement(script, move)]
    if isinstance(small, cst.Assign) and len(small.targets) == 1:
        target = small.targets[0].target
        if small.value is move and dotted(value) is not None and dotted(target) == dotted(value):
            return [delete_statement(script, move)]
        if isinstance(target, cst.Tuple) and isinstance(small.value, cst.Tuple):
            pairs = list(zip(target.elements, small.value.elements, strict=False))
            rest = [
                (script.text(left.value), script.text(right.value))
                for left, right in pairs
                if right.value is not move or dotted(left.value) != dotted(value)
            ]
            if 0 < len(rest) < len(pairs) == len(target.elements):
                names, values_ = (", ".join(side) for side in zip(*rest, strict=True))
                return [replace(script, small, f"{names} = {values_}")]
    return [unwrap(script, move)]


def _before_move(script: Script, name: cst.Name) -> cst.BaseExpression | None:
    """What was moved to give this name its value, if its first value is a move of names and indices only."""
    found = [value for value in values(script, name) if script.order(value) < script.order(name)]
    if not found or not isinstance(found[-1], cst.Call) or not is_move(script, found[-1]):
        return None
    value = moved_value(found[-1])
    base = value.value if isinstance(value, cst.Subscript) else value
    return value if dotted(base) not in (None, name.value) else None
