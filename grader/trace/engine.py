"""The autograd engine's single entry: which losses are differentiated, and which leaves they reach."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.autograd

from .forwards import Forwards
from .gradients import Mixture
from .losses import Losses
from .parameters import Base, Leaves, grad_fn_of
from .quiet import Faults, Quiet
from .threads import Thread
from .usage import Usage

NO_GRADIENT, NO_BACKWARD = "no_gradient", "no_backward"
"""What a recorder may spoil: every gradient that is asked for, or only those that accumulate in `.grad`."""

GRADIENTS, INPUTS, ACCUMULATE = 0, 3, 5
"""Positions, after the roots, of the engine's arguments `grad_tensors`, `inputs` and `accumulate_grad`.
`backward` passes the last as True, `grad` as False."""

WALKS_AT_FIRST, WALK_EVERY = 4, 16
"""Backward calls that are followed through the graph in any case."""

ACCUMULATOR: Any = type((torch.ones(1, requires_grad=True) * 1).grad_fn.next_functions[0][0])  # type: ignore[union-attr]


def leaves_below(roots: Iterable[object]) -> list[torch.Tensor]:
    """The leaf tensors that a backward from these roots (tensors or gradient edges) can reach."""
    pending: list[Any] = []
    found: dict[int, torch.Tensor] = {}
    for root in roots:
        if isinstance(root, torch.Tensor):
            node = grad_fn_of(root)
            if node is not None:
                pending.append(node)
            elif root.requires_grad:
                found[id(root)] = root
        else:
            pending.append(getattr(root, "node", None))
    seen: set[Any] = set(pending)
    while pending:
        node = pending.pop()
        if node is None:
            continue
        if node.__class__ is ACCUMULATOR:
            leaf = node.variable
            found[id(leaf)] = leaf
            continue
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                pending.append(below)
    return list(found.values())


class Engine:
    """Wraps `torch.autograd._engine_run_backward`, which `backward` and `grad` both call.

    Calls from inside a running engine call (a checkpoint's, or a hook's) take part in the gradient rule, but
    are not backward calls of the script.
    """

    def __init__(
        self,
        thread: Thread,
        faults: Faults,
        losses: Losses,
        mixture: Mixture,
        forwards: Forwards,
        usage: Usage,
        leaves: Leaves,
        spoil: str = "",
    ) -> None:
        self._usage = usage
        self._leaves = leaves
        self._spoil = spoil
        self._thread = thread
        self._faults = faults
        self._losses = losses
        self._mixture = mixture
        self._forwards = forwards
        self.calls = 0
        self.gradient_calls = 0
        """Calls of `autograd.grad` with respect to leaves."""

    def wrap(self, original: Callable[..., Any], active: Callable[[], bool]) -> Callable[..., Any]:
        thread, faults = self._thread, self._faults

        def _engine_run_backward(roots: Any, *args: Any, **kwargs: Any) -> Any:
            if not active():
                return original(roots, *args, **kwargs)
            accumulates = False
            try:
                accumulates = self._before(roots, args, kwargs)
            except Exception as error:
                faults.note("engine", error)
            if (self._spoil == NO_GRADIENT or (self._spoil and accumulates)) and not thread.engine:
                args, kwargs = _without_gradients(args, kwargs)
            thread.engine += 1
            try:
                result = original(roots, *args, **kwargs)
            except Exception:
                if thread.engine == 1 and not thread.stack:
                    self._forwards.swallowed += 1
                raise
            finally:
                thread.engine -= 1
            if not thread.engine:
                with faults.guard("after engine"), Quiet():
                    if accumulates:
                        self._usage.after_backward()
                    elif isinstance(result, (tuple, list)):
                        self._usage.returned(_inputs(args, kwargs), result)
            return result

        return _engine_run_backward

    def _before(self, roots: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
        """Whether the call adds to gradients of leaves."""
        thread = self._thread
        if thread.forward is not None and not thread.engine:
            thread.forward.differentiated = True
        accumulate = kwargs.get("accumulate_grad", args[ACCUMULATE] if len(args) > ACCUMULATE else False)
        inputs = _inputs(args, kwargs)
        if not accumulate:
            self._asked_for(roots, inputs)
            return False
        roots = (roots,) if isinstance(roots, torch.Tensor) else tuple(roots)
        index = self.calls
        with Quiet():
            if not thread.engine:
                self.calls += 1
                self._add_losses(roots)
            skipped = self._may_skip(inputs, index)
            reached = self._leaves.alive() if skipped else leaves_below(roots)
            if inputs:
                wanted = {id(item) for item in inputs}
                reached = [leaf for leaf in reached if id(leaf) in wanted]
            if not skipped:
                self._leaves.together(reached)
            self._mixture.accumulate(reached, index)
            if not thread.engine:
                self._usage.before_backward(reached)
        return True

    def _add_losses(self, roots: Iterable[Any]) -> None:
        for root in roots:
            if isinstance(root, torch.Tensor) and Base.numel(root) == 1 and not root.is_complex():
                self._losses.add(float(Base.item(root.detach())))

    def _asked_for(self, roots: Any, inputs: Sequence[Any]) -> None:
        """`autograd.grad`: with respect to leaves it is training by hand, which has losses as well."""
        leaves = [
            one for one in inputs if isinstance(one, torch.Tensor) and one.is_leaf and one.requires_grad
        ]
        if self._thread.engine or not leaves:
            return
        with Quiet():
            self.gradient_calls += 1
            self._add_losses((roots,) if isinstance(roots, torch.Tensor) else tuple(roots))
            self._leaves.together(leaves)
            for leaf in leaves:
                self._leaves.see(leaf, accumulated=False)

    def _may_skip(self, inputs: Sequence[Any], index: int) -> bool:
        """Whether the graph need not be walked (a recurrent one costs 2 ms): leaves that are known and
        without gradients are then as good as those that are reached. New ones are looked for now and then;
        an optimizer that steps them makes them known as well."""
        if inputs or self._thread.engine or index < WALKS_AT_FIRST or index % WALK_EVERY == 0:
            return False
        return self._mixture.all_clear()


def _inputs(args: Sequence[Any], kwargs: dict[str, Any]) -> Sequence[Any]:
    found = kwargs.get("inputs", args[INPUTS] if len(args) > INPUTS else ())
    return found if isinstance(found, (tuple, list)) else ()


def _without_gradients(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The engine's arguments with zeros for the gradients of its roots."""
    given = kwargs.get("grad_tensors", args[GRADIENTS] if len(args) > GRADIENTS else ())
    zeros = tuple(one * 0 if isinstance(one, torch.Tensor) else one for one in given)
    if "grad_tensors" in kwargs:
        return args, {**kwargs, "grad_tensors": zeros}
    return (*args[:GRADIENTS], zeros, *args[GRADIENTS + 1 :]), kwargs
