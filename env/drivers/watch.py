"""What drivers see of a job: module calls, losses, backward passes and optimizer steps.

Whatever a driver is told of, it may look at and not change; what it raises is kept from the job. Every
callback runs at the place in the job that caused it.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from .attach import frames_of_job, place
from .describe import tensors_in

MOST_ROOTS = 16
"""Models that are given names."""
LOSSES = (
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "kl_div",
    "gaussian_nll_loss",
    "poisson_nll_loss",
    "soft_margin_loss",
    "multi_margin_loss",
    "hinge_embedding_loss",
    "cosine_embedding_loss",
    "margin_ranking_loss",
    "triplet_margin_loss",
)

COMPREHENSIONS = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>")
"""Frames that not every Python makes; the lines around them say the same."""

report: dict[str, Any] = {"faults": []}
"""The one of this run. faults: what went wrong in the watching itself."""

_process = os.getpid()


@contextmanager
def guarded() -> Iterator[None]:
    """What fails inside is noted and kept from the job."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__}: {str(error)[:200]}"
        if len(report["faults"]) < 10 and text not in report["faults"]:
            report["faults"].append(text)


def forked() -> bool:
    """Whether this is a process that the job forked (a loader's worker): nobody reads what it notes."""
    return os.getpid() != _process


def where(frame: FrameType | None = None, most: int = 3) -> list[str]:
    """The job's own lines that are running now, innermost first."""
    frames = frames_of_job(frame or sys._getframe(1))
    outside = (one for one in frames if one.f_code.co_name not in COMPREHENSIONS)
    return [place(one) for one, _ in zip(outside, range(most), strict=False)]


class Names:
    """Attribute paths of modules and parameters, of the models that were called."""

    def __init__(self) -> None:
        self.roots: list[nn.Module] = []
        self._labels: dict[int, str] = {}
        self._modules: dict[int, tuple[int, str]] = {}
        self._parameters: dict[int, tuple[int, str]] = {}
        self._seen: dict[int, int] = {}

    def see(self, root: nn.Module) -> None:
        """A module was called that is part of no other call. The first calls count: lazy layers and late
        ones get their names."""
        times = self._seen.get(id(root), 0)
        if times >= 3:
            return
        own = list(root.named_parameters())
        if not own:
            return
        if times == 0:
            if id(root) in self._modules or len(self.roots) >= MOST_ROOTS:
                return  # part of a model that is known
            kind_of = type(root).__name__
            same = sum(type(one) is type(root) for one in self.roots)
            self.roots.append(root)
            self._labels[id(root)] = f"{kind_of}#{same + 1}" if same else kind_of
        self._seen[id(root)] = times + 1
        for name, module in root.named_modules():
            self._modules[id(module)] = (id(root), name)
        for name, parameter in own:
            self._parameters[id(parameter)] = (id(root), name)

    def module(self, module: nn.Module) -> str:
        """`features.0.1` within its model, the class for a model itself or one that is unknown."""
        root, name = self._modules.get(id(module), (0, ""))
        return self._said(root, name) if name else self._labels.get(id(module), type(module).__name__)

    def parameter(self, parameter: torch.Tensor) -> str:
        """`head.weight`, with its model's class if there are several."""
        root, name = self._parameters.get(id(parameter), (0, ""))
        if not name:
            return "(in no model that was called)"
        return self._said(root, name)

    def known(self, parameter: torch.Tensor) -> bool:
        return id(parameter) in self._parameters

    def _said(self, root: int, name: str) -> str:
        return f"{self._labels[root]}.{name}" if len(self.roots) > 1 else name


@dataclass(eq=False)
class Call:
    """One call of a module, from when it is entered. inside: the calls that it is part of, outermost first.

    result: after it returned. note: for whoever watches.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inside: tuple[Call, ...]
    gradients: bool
    result: Any = None
    note: dict[str, Any] = field(default_factory=dict)

    @property
    def is_root(self) -> bool:
        return not self.inside

    def first(self) -> torch.Tensor | None:
        """The first tensor among its arguments."""
        return next(tensors_in((*self.args, *self.kwargs.values())), None)


class Calls:
    """Tells of every call of a module, nested ones too: `before`, then `after` or `raised`.

    stack: the calls that run in this thread now.
    """

    def __init__(
        self,
        names: Names,
        *,
        before: Callable[[Call], None] = lambda call: None,
        after: Callable[[Call], None] = lambda call: None,
        raised: Callable[[Call, BaseException], None] = lambda call, error: None,
    ) -> None:
        self._local = threading.local()
        original = nn.Module.__call__

        @functools.wraps(original)
        def __call__(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if forked():
                return original(module, *args, **kwargs)
            stack = self.stack
            call = Call(module, args, kwargs, tuple(stack), torch.is_grad_enabled())
            with guarded():
                if not stack:
                    names.see(module)
                before(call)
            stack.append(call)
            try:
                call.result = original(module, *args, **kwargs)
            except BaseException as error:
                with guarded():
                    raised(call, error)
                raise
            finally:
                stack.pop()
            with guarded():
                if not stack:
                    names.see(module)
                after(call)
            return call.result

        nn.Module.__call__ = __call__  # type: ignore[method-assign]

    @property
    def stack(self) -> list[Call]:
        found = getattr(self._local, "stack", None)
        if found is None:
            found = self._local.stack = []
        return found


def watch_losses(told: Callable[[str, tuple[Any, ...], Any], None]) -> None:
    """Tells of calls of torch's loss functions: name, arguments, and the result (the exception, if it
    raised)."""
    functional = torch.nn.functional
    for name in LOSSES:
        original = getattr(functional, name, None)
        if original is not None:
            setattr(functional, name, _telling(name, original, told))


def _telling(name: str, original: Any, told: Callable[[str, tuple[Any, ...], Any], None]) -> Any:
    @functools.wraps(original)
    def loss(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *(kwargs[one] for one in ("input", "target") if one in kwargs))
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            if not forked():
                with guarded():
                    told(name, given, error)
            raise
        if not forked():
            with guarded():
                told(name, given, result)
        return result

    return loss


def watch_backward(
    before: Callable[[list[torch.Tensor]], None],
    after: Callable[[list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]], None],
) -> None:
    """Tells of passes of the autograd engine that the job asks for, those inside a running one apart.

    before, after: get the tensors that are differentiated; `after` also pairs of leaf and gradient, if the
    gradients were asked for (`autograd.grad`) and not left in `.grad`.
    """
    original = vars(torch.autograd)["_engine_run_backward"]
    local = threading.local()

    def _engine_run_backward(roots: Any, *args: Any, **kwargs: Any) -> Any:
        if forked() or getattr(local, "running", False):
            return original(roots, *args, **kwargs)
        differentiated = [one for one in roots if isinstance(one, torch.Tensor)]
        with guarded():
            before(differentiated)
        local.running = True
        try:
            result = original(roots, *args, **kwargs)
        finally:
            local.running = False
        with guarded():
            inputs = kwargs.get("inputs", args[3] if len(args) > 3 else ()) or ()
            pairs = [
                (leaf, gradient)
                for leaf, gradient in zip(inputs, result or (), strict=False)
                if isinstance(gradient, torch.Tensor) and leaf.is_leaf
            ]
            after(differentiated, pairs)
        return result

    vars(torch.autograd)["_engine_run_backward"] = _engine_run_backward


def watch_steps(
    before: Callable[[torch.optim.Optimizer, bool], None], after: Callable[[torch.optim.Optimizer], None]
) -> None:
    """Tells of optimizer steps, those within a step of the same optimizer apart; whether it had a closure."""
    running: list[tuple[torch.optim.Optimizer, FrameType]] = []

    def begin(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if forked():
            return
        frame = sys._getframe(1)
        running[:] = [one for one in running if _is_running(one[1], frame)]  # a step that raised never ended
        nested = any(one is optimizer for one, _ in running)
        running.append((optimizer, frame))
        if not nested:
            with guarded():
                before(optimizer, callable(kwargs.get("closure")) or any(map(callable, args[1:])))

    def end(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if forked() or not running:
            return
        running.pop()
        if not any(one is optimizer for one, _ in running):
            with guarded():
                after(optimizer)

    register_optimizer_step_pre_hook(begin)
    register_optimizer_step_post_hook(end)


def _is_running(wanted: FrameType, frame: FrameType | None) -> bool:
    while frame is not None:
        if frame is wanted:
            return True
        frame = frame.f_back
    return False
