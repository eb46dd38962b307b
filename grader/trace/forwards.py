"""Module calls: which were training, which evaluation, and what ran in training mode inside an evaluation.

A call of an outermost module is an evaluation when no gradient is ever computed from it: gradient mode is
off, or it is on and no backward reaches an output. The second kind is only known at the end, so a call counts
as an evaluation until a hook on its output's graph node fires, and is then moved. The hook holds counts, no
tensor, and dies with the graph.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from .inputs import Inputs, sample_of
from .parameters import grad_fn_of
from .quiet import Faults, Quiet
from .rows import Keys, Sketch, row_keys
from .threads import Entry, Forward, Thread, is_running

MAX_OUTPUTS = 32
"""Tensors of one result that are looked at; more would be a list of states, all from one graph."""
MAX_DEPTH = 4
"""Levels of containers that are opened in search of tensors."""
MAX_NAMES = 64
"""Different noisy layers that are listed."""

NAMED_LAYERS = (_DropoutNd, _NormBase, nn.MultiheadAttention, nn.RNNBase)
"""Layers whose own name says more than that of the function they call."""


def tensors_in(value: object, depth: int = MAX_DEPTH) -> Iterator[torch.Tensor]:
    """The tensors in nested sequences, mappings, dataclasses and plain objects (distributions)."""
    if isinstance(value, torch.Tensor):
        yield value
        return
    if depth == 0 or value is None or isinstance(value, (str, bytes, int, float, nn.Module, type)):
        return
    parts: Any = ()
    if isinstance(value, (tuple, list)):
        parts = value[:MAX_OUTPUTS]
    elif isinstance(value, dict):
        parts = list(value.values())[:MAX_OUTPUTS]
    elif is_dataclass(value):
        parts = [getattr(value, item.name, None) for item in fields(value)]
    elif hasattr(value, "__dict__"):
        parts = list(vars(value).values())[:MAX_OUTPUTS]
    for part in parts:
        yield from tensors_in(part, depth - 1)


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """The first tensor argument, or None."""
    for value in (*args, *kwargs.values()):
        for tensor in tensors_in(value):
            return tensor
    return None


def first_array(args: tuple[Any, ...], kwargs: dict[str, Any]) -> npt.NDArray[Any] | None:
    """The first argument that is an array of numpy, or None."""
    return next((one for one in (*args, *kwargs.values()) if isinstance(one, np.ndarray)), None)


def rows_of(args: tuple[Any, ...], kwargs: dict[str, Any], result: object = None) -> int:
    """The first dimension of the first tensor argument, or else of an array, or else of the result; 1 if it
    has none, 0 without any of them."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, nn.utils.rnn.PackedSequence):
            return int(value.batch_sizes[0])
    first: Any = first_tensor(args, kwargs)
    if first is None:
        first = first_array(args, kwargs)
    if first is None:
        first = next(tensors_in(result), None)
    return 0 if first is None else int(first.shape[0]) if len(first.shape) else 1


class Tally:
    """Calls, rows and devices; and of noisy calls which layers and which rows.

    at_rest: calls in which dropout or batch norm ran in evaluation mode and nothing in training mode.
    rows_seen: which rows; kept of all calls, or of the noisy ones only.
    """

    def __init__(self, *, only_noisy_rows: bool) -> None:
        self.calls = self.rows = self.noisy = self.at_rest = self.cpu = self.cuda = 0
        self.names: Counter[str] = Counter()
        self.rows_seen = Sketch()
        self.noisy_rows_unknown = 0
        """Rows of noisy calls whose first argument has no rows to tell apart."""
        self._only_noisy_rows = only_noisy_rows

    def add(self, forward: Forward, sign: int = 1) -> None:
        noisy = bool(forward.noise)
        if noisy or (forward.counted and not self._only_noisy_rows):
            self.rows_seen.add(forward.keys, sign)
        if forward.counted or noisy:
            self.calls += sign
            self.rows += sign * forward.rows
            self.at_rest += sign * (forward.at_rest and not noisy)
            if forward.cuda:
                self.cuda += sign
            else:
                self.cpu += sign
        if noisy:
            self.noisy += sign
            if not len(forward.keys):
                self.noisy_rows_unknown += sign * forward.rows
            for name in forward.noise:
                if name in self.names or len(self.names) < MAX_NAMES:
                    self.names[name] += sign


class Forwards:
    """Global module hooks. Calls of modules without parameters (losses, activations) are not counted, unless
    they are noisy: a loss written as a module must weigh no more than one written as a function."""

    def __init__(self, thread: Thread, faults: Faults, active: Callable[[], bool]) -> None:
        self._thread = thread
        self._faults = faults
        self._active = active
        self.training = Tally(only_noisy_rows=False)
        self.evaluation = Tally(only_noisy_rows=True)
        self.swallowed = 0
        """Exceptions that left a module, counted once each however far they went."""
        self._raised = 0
        """Which one was counted last."""
        self.noise_outside = 0
        """Noisy calls outside every module, with gradients off: each may stand for any number of rows."""
        self.clock: Callable[[], int] = int
        """How many backward calls there have been."""
        self._evaluated_at: set[int] = set()
        self.inputs: Inputs | None = None
        """Follows which rows are trained on and evaluated; None where nobody asked."""

    def noisy_rows_beside(self, known: Keys) -> int:
        """Rows that noisy evaluations saw and that are not among the known ones."""
        evaluation = self.evaluation
        unknown = evaluation.noisy_rows_unknown + self.noise_outside
        return evaluation.rows_seen.count_beside(known) + unknown

    def rounds(self) -> int:
        """Evaluations at different times of training, or after it."""
        return len(self._evaluated_at)

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        try:
            self._raised = 0
            thread, frame = self._thread, sys._getframe(1)
            stack = thread.stack
            if stack:
                if not is_running(stack[-1].frame, frame):
                    thread.drop_dead(frame)
                # below the outermost module only layers that give noise a name are followed, and calls of
                # the module on top, so that `after` takes none for another
                if stack and module is not stack[-1].module and not isinstance(module, NAMED_LAYERS):
                    return
            if not stack and not thread.engine:
                thread.forward = Forward()
            stack.append(Entry(module, frame, sys.exc_info()[1]))
            if isinstance(module, nn.RNNBase) and module.dropout and module.num_layers > 1:
                if module.training:
                    self.noise(type(module).__name__)
                else:
                    self.rest()
        except Exception as error:
            self._faults.note("before forward", error)

    def after(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
        """rest: (kwargs, result), or (result,) when the call raised; torch calls it either way."""
        try:
            thread = self._thread
            stack = thread.stack
            raised = sys.exc_info()[1] if len(rest) == 1 else None
            # a checkpoint ends what it computes again by an exception of its own
            if stack and raised is not None and raised is not stack[0].handled and not thread.engine:
                self.swallowed += id(raised) != self._raised
                self._raised = id(raised)
            if not stack or module is not stack[-1].module:
                if not stack or module is not stack[0].module:
                    return
                del stack[1:]  # layers left by an exception that no hook sees, caught inside this call
            entry = stack.pop()
            if stack:
                return
            forward, thread.forward = thread.forward, None
            if forward is None:
                return
            if raised is not None and raised is not entry.handled:
                return
            kwargs = rest[0] if len(rest) == 2 else {}
            self._describe(forward, module, args, kwargs, rest[-1])
            if thread.region is not None:
                thread.region.append(forward)
            else:
                self.classify([forward], rest[-1])
        except Exception as error:
            self._faults.note("after forward", error)

    def noise(self, name: str) -> None:
        """Something noisy runs now, under this name unless a layer of torch.nn runs it."""
        thread = self._thread
        if thread.engine:
            return  # a checkpoint computes again what was counted when it ran first
        forward = thread.forward
        if forward is not None:
            forward.noise.add(name[:80])
        elif thread.region is None and not torch.is_grad_enabled():
            self.evaluation.noisy += 1
            self.evaluation.names[name] += 1
            self.noise_outside += 1

    def rest(self) -> None:
        """Something that would be noisy in training mode runs in evaluation mode now."""
        if self._thread.forward is not None and not self._thread.engine:
            self._thread.forward.at_rest = True

    def classify(self, forwards: list[Forward], result: object) -> None:
        """Sort finished calls whose outputs are in `result`, now or when a backward comes."""
        edges: list[Any] = []
        differentiated = False
        if torch.is_grad_enabled():
            for count, tensor in enumerate(tensors_in(result)):
                if count == MAX_OUTPUTS:
                    break
                tensor, transformed = _unwrap(tensor)
                node = grad_fn_of(tensor)
                if transformed or (tensor.requires_grad and node is None):
                    differentiated = True  # inside torch.func.grad; or the output is itself a parameter
                elif node is not None and not any(node is edge for edge in edges):
                    edges.append(node)
        for forward in forwards:
            followed = self.inputs if forward.counted else None
            if differentiated or forward.differentiated:
                self.training.add(forward)
                if followed is not None:
                    followed.trained(forward.keys, forward.sample)
                continue
            self.evaluation.add(forward)
            number = None
            if followed is not None and edges:
                number = followed.perhaps(forward.keys)
            elif followed is not None:
                followed.evaluated(forward.keys)
            if not edges:
                self._evaluated_at.add(self.clock())
            if edges:
                hook = self._mover(forward, number)
                for edge in edges:
                    edge.register_prehook(hook)

    def _mover(self, forward: Forward, number: int | None) -> Callable[..., None]:
        def reached(gradients: Any) -> None:
            if not forward.differentiated and self._active():
                forward.differentiated = True
                self.evaluation.add(forward, -1)
                self.training.add(forward)
                if self.inputs is not None and number is not None:
                    self.inputs.trained(forward.keys, forward.sample, number)

        return reached

    def _describe(
        self,
        forward: Forward,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: object,
    ) -> None:
        if torch._C._is_tracing():
            return  # the call is there to be recorded, and whatever is done with its tensors would be too
        forward.rows = rows_of(args, kwargs, result)
        graded = torch.is_grad_enabled()
        trains = graded and not self.training.rows_seen.complete
        if forward.noise or trains or self.inputs is not None:
            first = first_tensor(args, kwargs)
            if first is None and (array := first_array(args, kwargs)) is not None:
                first = torch.from_numpy(np.array(array)) if array.dtype.kind in "biuf" else None
            if first is not None and first.dim() and first.shape[0] == forward.rows:
                with Quiet(), temporarily_clear_interpreter_stack():  # outside of torch.func's transforms
                    forward.keys = row_keys(_unwrap(first)[0])
                    if self.inputs is not None and graded:
                        forward.sample = sample_of(_unwrap(first)[0])
        parameter = next(module.parameters(), None)
        # the parameters of a frozen model are constants of its program
        frozen = not graded and isinstance(module, torch.jit.ScriptModule)
        forward.counted = parameter is not None or frozen
        where = parameter if parameter is not None else next(tensors_in(result), None)
        forward.cuda = where is not None and bool(where.is_cuda)


def _unwrap(tensor: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """The tensor below the wrappers of torch.func, and whether one of them computes gradients."""
    functorch = torch._C._functorch
    transformed = False
    while functorch.is_functorch_wrapped_tensor(tensor):
        transformed = transformed or functorch.is_gradtrackingtensor(tensor)
        tensor = functorch.get_unwrapped(tensor)
    return tensor, transformed
