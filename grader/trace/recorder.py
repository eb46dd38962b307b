"""Observing a training script from inside its own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.autograd
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from .engine import Engine
from .forwards import Forwards
from .functional import Functional
from .gradients import Mixture
from .inputs import Inputs
from .losses import Losses, LossShapes
from .optimizers import Optimizers, plain
from .parameters import Leaves
from .quiet import Faults, Quiet
from .regions import observe_custom_functions, observe_scripting, observe_zero_grad
from .sampling import Sampling
from .threads import Thread
from .usage import Usage

VERSION = 2
INHERITED: Any = object()
"""In the place of an original that an owner has from its base class."""

Patch = tuple[Any, str, Any]


def _put_back(owner: Any, name: str, original: Any) -> None:
    if original is INHERITED:
        delattr(owner, name)
    else:
        setattr(owner, name, original)


class Recorder:
    """Records what a training script does, without changing a bit of it.

    Start it before the script is imported, so that `from torch.nn.functional import dropout` is seen.

    >>> with Recorder() as recorder:
    ...     pass
    >>> recorder.record["optimizer_steps"]
    0

    spoil: `no_gradient` or `no_backward` has the engine hand out zeros (see `engine`).
    inputs: follow which rows are trained on and evaluated (see `inputs`), under `inputs` in the record.

    One recorder is used once. Hooks never raise into the script: what fails inside them is listed in the
    record's `faults`. A script can forge all of it: it runs in the same process.
    """

    def __init__(self, *, spoil: str = "", inputs: bool = False) -> None:
        self.record: dict[str, Any] | None = None
        self._active = False
        self._faults = Faults()
        self._thread = Thread()
        self._leaves = Leaves()
        self._losses = Losses()
        self._shapes = LossShapes()
        self._mixture = Mixture(self._leaves)
        self._forwards = Forwards(self._thread, self._faults, self._is_active)
        self._functional = Functional(self._thread, self._faults, self._forwards, self._shapes)
        self._sampling = Sampling(self._thread, self._faults, self._forwards)
        self._usage = Usage()
        self._engine = Engine(
            self._thread,
            self._faults,
            self._losses,
            self._mixture,
            self._forwards,
            self._usage,
            self._leaves,
            spoil,
        )
        self._forwards.clock = self._backward_calls
        if inputs:
            self._forwards.inputs = Inputs(self._backward_calls)
        self._optimizers = Optimizers(self._faults, self._leaves, self._mixture, self._usage)
        self._missing: list[str] = []
        self._patches: list[tuple[Patch, Any]] = []
        self._handles: list[Any] = []

    def _backward_calls(self) -> int:
        return self._engine.calls

    def _is_active(self) -> bool:
        return self._active

    @property
    def optimizer_steps(self) -> int:
        """Steps completed so far."""
        return self._optimizers.steps

    def start(self) -> None:
        """Install every hook. Raises RuntimeError when the recorder was started before."""
        if self._active or self.record is not None:
            raise RuntimeError("this Recorder was started before; make a new one for each run")
        self._active = True
        engine = vars(torch.autograd)["_engine_run_backward"]
        patches: list[Patch] = [
            (torch.autograd, "_engine_run_backward", self._engine.wrap(engine, self._is_active)),
            *self._functional.wrappers(self._is_active),
            *self._sampling.wrappers(self._is_active),
        ]
        patches.append(observe_custom_functions(self._thread, self._faults, self._forwards, self._is_active))
        for owner in (Optimizer, nn.Module):
            patches.append(observe_zero_grad(owner, self._faults, self._mixture, self._is_active))
        patches.append(observe_scripting(self._without_wrappers, self._is_active))
        for patch in patches:
            self._apply(patch)
        self._handles = [
            register_module_forward_pre_hook(self._forwards.before),
            register_module_forward_hook(self._forwards.after, with_kwargs=True, always_call=True),
            register_optimizer_step_pre_hook(self._optimizers.before_step),
            register_optimizer_step_post_hook(self._optimizers.after_step),
        ]

    def stop(self) -> dict[str, Any]:
        """Remove every hook and return the record; asked again, return the same one."""
        if self.record is None:
            if not self._active:
                raise RuntimeError("this Recorder was never started")
            self._active = False
            self._missing = self._not_in_place()
            for handle in self._handles:
                handle.remove()
            for (owner, name, replacement), original in reversed(self._patches):
                # what somebody else put on top stays; the wrapper below it now passes everything on
                if vars(owner).get(name) is replacement:
                    _put_back(owner, name, original)
            self.record = self._assemble()
        return self.record

    def _not_in_place(self) -> list[str]:
        """Hooks and wrappers that somebody took away or covered."""
        gone = [
            f"{getattr(owner, '__name__', owner)}.{name}"
            for (owner, name, replacement), _original in self._patches
            if vars(owner).get(name) is not replacement
        ]
        for handle in self._handles:
            hooks = handle.hooks_dict_ref()
            if hooks is None or handle.id not in hooks:
                gone.append("a global hook")
        return gone

    def __enter__(self) -> Recorder:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _apply(self, patch: Patch) -> None:
        owner, name, replacement = patch
        self._patches.append((patch, vars(owner).get(name, INHERITED)))
        setattr(owner, name, replacement)

    def _without_wrappers(self, work: Callable[[], Any]) -> Any:
        """Run `work` with torch.nn.functional as it came (TorchScript compiles what it finds there)."""
        lifted = []
        for patch, original in self._patches:
            owner, name, replacement = patch
            if owner in (nn.functional, torch) and vars(owner).get(name) is replacement:
                setattr(owner, name, original)
                lifted.append(patch)
        try:
            return work()
        finally:
            for owner, name, replacement in lifted:
                setattr(owner, name, replacement)

    def _assemble(self) -> dict[str, Any]:
        parameters: dict[str, Any] = {"tensors": 0, "elements": 0, "stepped": 0, "largest": 0, "digest": ""}
        trained_rows, noisy_rows = 0, 0
        followed: dict[str, Any] = {}
        with self._faults.guard("stop"), Quiet():
            self._mixture.finish()
            parameters = self._leaves.summary()
            trained = self._forwards.training.rows_seen.rows()
            trained_rows = len(trained)
            noisy_rows = self._forwards.noisy_rows_beside(trained)
            if self._forwards.inputs is not None:
                followed = {"inputs": self._forwards.inputs.summary()}
        losses, training, evaluation = self._losses, self._forwards.training, self._forwards.evaluation
        return {
            "version": VERSION,
            "losses": losses.listed,
            "losses_digest": losses.digest(),
            "backward_calls": self._engine.calls,
            "gradient_calls": self._engine.gradient_calls,
            "nonfinite_losses": losses.nonfinite,
            "first_nonfinite": losses.first_nonfinite,
            "optimizer_steps": self._optimizers.steps,
            "optimizers": self._optimizers.names,
            "learning_rates": self._optimizers.rates(),
            "momentum": plain(self._optimizers.momentum),
            "mixture": self._mixture.summary(),
            "empty_steps": self._optimizers.empty_steps,
            "parameters": parameters,
            "used_gradients": self._usage.summary(),
            "train_forwards": {
                "calls": training.calls,
                "rows": training.rows,
                "distinct_rows": trained_rows,
                "at_rest": training.at_rest,
            },
            "eval_forwards": {
                "calls": evaluation.calls,
                "rows": evaluation.rows,
                "rounds": self._forwards.rounds(),
                "noisy_calls": evaluation.noisy,
                "noisy_rows_not_trained_on": noisy_rows,
                "noisy_layers": sorted(name for name, count in evaluation.names.items() if count > 0),
            },
            "devices": {
                "step_cpu": self._optimizers.step_cpu,
                "step_cuda": self._optimizers.step_cuda,
                "train_cpu": training.cpu,
                "train_cuda": training.cuda,
                "eval_cpu": evaluation.cpu,
                "eval_cuda": evaluation.cuda,
            },
            "loss_shapes": self._shapes.summary(),
            "swallowed": self._forwards.swallowed,
            "faults": self._faults.notes,
            "missing_hooks": self._missing,
            **followed,
        }
