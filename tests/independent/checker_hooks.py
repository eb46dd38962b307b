"""What the checker's worker writes down about a run: gradients, modes, devices, losses."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

SAME_DIRECTION = 0.999
"""Least cosine between a gradient about to be used and the contributions it is made of. Clipping by norm
scales all of a gradient, and rounding leaves 1 − 1e-7; the sum with another batch's gradient leaves less than
0.99 in the jobs of the library."""

LONGEST = 1.001
"""A gradient may be shorter than its contributions (clipped, unscaled), never longer."""

ONE_FACTOR = 0.99
"""Clipping by norm and unscaling multiply all tensors of a gradient alike: least ratio of two factors."""

NEGLIGIBLE = 1e-6
"""Tensors with less than this share of the gradient's norm hold rounding noise (a bias before a batch norm
has gradient zero): their direction says nothing."""

LOSSES = (
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
)
"""Losses that want prediction and target of one shape."""

DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")

_Base: Any = torch._C.TensorBase
_REGISTER = torch.Tensor.register_hook  # kept before a simulated accelerator replaces it: ours only reads


def values(tensor: Any) -> np.ndarray[Any, Any]:
    """A copy of a tensor's values, unseen by any mode and wherever it lies."""
    with torch._C._DisableTorchDispatch():
        raw = _Base.detach(tensor)
        if raw.is_sparse:
            raw = _Base.to_dense(raw)
        return np.array(_Base.numpy(_Base.cpu(raw)))


class Watch:
    """What is written down about one run."""

    def __init__(self) -> None:
        self.losses = hashlib.sha256()
        self.backwards = 0
        self.steps = {"on": 0, "off": 0}
        self.evaluations = {"on": 0, "off": 0}
        self.stale = 0
        self.thrown_away = 0
        self.training_mode: dict[str, int] = {}
        self.since_backward: dict[str, int] = {}
        self.shapes: set[str] = set()
        self.parameters: dict[int, torch.Tensor] = {}
        self.contributions: dict[int, list[tuple[int, np.ndarray[Any, Any]]]] = {}

    def report(self) -> dict[str, Any]:
        """Everything that was seen, as JSON.

        losses: hash of every differentiated loss, in order. final: hash of the optimizers' parameters at the
        end. steps, evaluations: how many, on and off the accelerator. stale, thrown_away: steps whose
        gradient was not made of the backward passes since the last step. training_mode: layers that
        dropped or used batch statistics where no gradient followed, with counts. shapes: losses of two
        shapes.
        """
        final = hashlib.sha256()
        for tensor in self.parameters.values():
            final.update(values(tensor).tobytes())
        seen = dict(self.training_mode)
        for layer, count in self.since_backward.items():
            seen[layer] = seen.get(layer, 0) + count
        return {
            "losses": self.losses.hexdigest(),
            "final": final.hexdigest(),
            "backwards": self.backwards,
            "steps": self.steps,
            "evaluations": self.evaluations,
            "stale": self.stale,
            "thrown_away": self.thrown_away,
            "training_mode": seen,
            "shapes": sorted(self.shapes),
        }

    # -- gradients ---------------------------------------------------------------------------------------

    def follow(self, tensor: torch.Tensor) -> None:
        """Write down every gradient that reaches this parameter from now on."""
        if id(tensor) in self.parameters or not tensor.requires_grad or not tensor.is_leaf:
            return
        self.parameters[id(tensor)] = tensor
        received = self.contributions.setdefault(id(tensor), [])

        def contributed(gradient: torch.Tensor) -> None:
            received.append((self.backwards, values(gradient)))

        register: Any = _REGISTER
        register(tensor, contributed)

    def before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        tensors = [one for group in optimizer.param_groups for one in group["params"]]
        away = any(_off_accelerator(one) for one in tensors)
        self.steps["off" if away else "on"] += 1
        if kwargs.get("closure") is None and not (len(args) > 1 and args[1] is not None):
            self.judge_gradients([one for one in tensors if id(one) in self.contributions])
        for one in tensors:
            self.contributions.get(id(one), []).clear()

    def judge_gradients(self, tensors: list[torch.Tensor]) -> None:
        """Are the gradients about to be used the sum of what the last few backward passes gave?

        What came before may rightly have been cleared away (a generator's pass through a discriminator), so
        any number of passes since the last step will do, if they are the latest ones.
        """
        found = []
        for one in tensors:
            gradient = _Base.grad.__get__(one)
            found.append(None if gradient is None else values(gradient))
        given = [self.contributions[id(one)] for one in tensors]
        empty = all(one is None or not one.any() for one in found)
        if not any(given):
            self.stale += not empty
            return
        passes = sorted({when for received in given for when, _ in received}, reverse=True)
        for first in passes:
            sums = []
            for received in given:
                parts = [part for when, part in received if when >= first]
                total = parts[0].copy() if parts else None
                for part in parts[1:]:
                    total += part
                sums.append(total)
            if _agree(found, sums):
                return
        if empty:
            self.thrown_away += 1
        else:
            self.stale += 1

    # -- evaluation --------------------------------------------------------------------------------------

    def used_training_mode(self, layer: str) -> None:
        if torch.is_grad_enabled():
            self.since_backward[layer] = self.since_backward.get(layer, 0) + 1
        else:
            self.training_mode[layer] = self.training_mode.get(layer, 0) + 1

    def forward(self, module: Any, args: Any, output: Any) -> None:
        if torch.is_grad_enabled() or not isinstance(output, torch.Tensor):
            return
        self.evaluations["off" if _off_accelerator(output) else "on"] += 1


def _off_accelerator(tensor: Any) -> bool:
    return bool(tensor.device.type == "cpu")


def _agree(found: list[Any], sums: list[Any]) -> bool:
    """Whether the gradients are the sums, up to one common factor of at most one (or values cut off)."""
    pairs = [
        (np.zeros_like(total) if one is None else one, np.zeros_like(one) if total is None else total)
        for one, total in zip(found, sums, strict=True)
        if one is not None or total is not None
    ]
    if all(np.array_equal(one, total, equal_nan=True) for one, total in pairs):
        return True
    flat = [(one.ravel().astype(np.float64), total.ravel().astype(np.float64)) for one, total in pairs]
    if not all(np.isfinite(one).all() and np.isfinite(total).all() for one, total in flat):
        return True  # an exploded gradient says nothing about where it came from
    size = max(float(np.sqrt(sum(total @ total for _, total in flat))), np.finfo(np.float64).tiny)
    if size >= float(np.finfo(np.float32).max) ** 0.5:
        return True  # so has one whose norm overflows: clipping leaves nothing of it
    largest = max((float(np.abs(one).max()) for one, _ in flat if one.size), default=0.0)
    if all(np.allclose(one, total.clip(-largest, largest), rtol=1e-4, atol=0) for one, total in flat):
        return largest > 0
    ratios = []
    for one, total in flat:
        norm, other = float(np.linalg.norm(total)), float(np.linalg.norm(one))
        if norm < NEGLIGIBLE * size and other < NEGLIGIBLE * size:
            continue
        if norm == 0 or other == 0 or (one @ total) / (norm * other) < SAME_DIRECTION:
            return False
        ratios.append(other / norm)
    return not ratios or bool(max(ratios) <= LONGEST and min(ratios) >= ONE_FACTOR * max(ratios))


def observe(watch: Watch) -> None:
    """Put the hooks in place; the process is a child that runs one job and ends."""
    backward = torch.autograd.backward

    def counted(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        watch.backwards += 1
        for loss in [tensors] if isinstance(tensors, torch.Tensor) else list(tensors):
            watch.losses.update(values(loss).tobytes())
        watch.since_backward.clear()
        return backward(tensors, *args, **kwargs)

    torch.autograd.backward = counted

    add_group = torch.optim.Optimizer.add_param_group

    def add_param_group(self: Any, group: Any) -> Any:
        done = add_group(self, group)
        for tensor in self.param_groups[-1]["params"]:
            watch.follow(tensor)
        return done

    setattr(torch.optim.Optimizer, "add_param_group", add_param_group)  # noqa: B010
    register_optimizer_step_pre_hook(watch.before_step)
    torch.nn.modules.module.register_module_forward_hook(watch.forward)

    for name in DROPOUTS:
        if hasattr(F, name):
            setattr(F, name, _dropout(watch, name, getattr(F, name)))
    setattr(F, "batch_norm", _batch_norm(watch, F.batch_norm))  # noqa: B010
    for name in LOSSES:
        setattr(F, name, _loss(watch, name, getattr(F, name)))
    for name in ("gru", "lstm", "rnn_tanh", "rnn_relu"):
        setattr(torch._VF, name, _recurrent(watch, name, getattr(torch._VF, name)))


def _dropout(watch: Watch, name: str, original: Any) -> Any:
    def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if training and p > 0:
            watch.used_training_mode(name)
        return original(input, p, training, inplace)

    return dropout


def _batch_norm(watch: Watch, original: Any) -> Any:
    def batch_norm(
        input: Any,
        running_mean: Any,
        running_var: Any,
        weight: Any = None,
        bias: Any = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Any:
        if training:
            watch.used_training_mode("batch_norm")
        return original(input, running_mean, running_var, weight, bias, training, momentum, eps)

    return batch_norm


def _recurrent(watch: Watch, name: str, original: Any) -> Any:
    def recurrent(*args: Any, **kwargs: Any) -> Any:
        # (…, number of layers, dropout, training, bidirectional[, batch first]); packed input has no last one
        flags = [
            one for one in args if isinstance(one, (bool, int, float)) and not isinstance(one, torch.Tensor)
        ]
        if len(flags) >= 4 and float(flags[2]) > 0 and flags[3] is True:
            watch.used_training_mode(name)
        return original(*args, **kwargs)

    return recurrent


def _loss(watch: Watch, name: str, original: Any) -> Any:
    def loss(input: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        if tuple(input.shape) != tuple(target.shape):
            watch.shapes.add(f"{name} of {tuple(input.shape)} and {tuple(target.shape)}")
        return original(input, target, *args, **kwargs)

    return loss
