"""Optimizers: what they hold, how often they step, and what came between their steps."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import torch
from torch.optim import Optimizer, lr_scheduler

from .attach import before_writing, run, settings, write
from .describe import Before, quiet
from .watch import Calls, Names, forked, guarded, report, watch_backward, watch_steps

MOST_OPTIMIZERS = 8
MOST_GROUPS = 6
MOST_PATTERNS = 10
LONGEST_PATTERN = 10
MOST_RATES = 60
MOST_NAMES = 20
WRITTEN_STEPS = 100
"""Steps after which the report is written each time: what is left of a job that never ends."""

names = Names()
schedulers: dict[int, tuple[Any, dict[str, Any]]] = {}
counts = {"steps": 0}


class Seen:
    """One optimizer. events: since its last step."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.events: list[str] = []
        self.patterns: Counter[str] = Counter()
        self.other_patterns = 0
        self.steps = self.zeroed = self.empty = 0
        self.rates: list[list[list[Any]]] = []
        """For each group: runs of (rate, number of steps)."""
        self.changes: list[int] = []
        self.settings: list[dict[str, str]] = []
        self.with_gradient: set[int] = set()

    def parameters(self) -> list[torch.Tensor]:
        return [one for group in self.optimizer.param_groups for one in group["params"]]


seen: list[Seen] = []
gradients: list[Before] = []
"""During a backward pass."""


def seen_of(optimizer: Optimizer) -> Seen | None:
    for one in seen:
        if one.optimizer is optimizer:
            return one
    if len(seen) >= MOST_OPTIMIZERS:
        return None
    seen.append(Seen(optimizer))
    return seen[-1]


def label(optimizer: Optimizer) -> str:
    kind = type(optimizer).__name__
    number = next((index for index, one in enumerate(seen, 1) if one.optimizer is optimizer), 0)
    return f"{kind}#{number}" if len(seen) > 1 else kind


def event(text: str, only: Optimizer | None = None) -> None:
    for one in seen:
        if (only is None or one.optimizer is only) and len(one.events) < 1000:
            one.events.append(text)


def scalars(group: dict[str, Any]) -> dict[str, str]:
    """A group's settings but its learning rate, those that are off or unset left out."""
    found = {}
    for name, value in group.items():
        if name in ("params", "lr", "initial_lr") or value is None or value is False:
            continue
        if isinstance(value, float | int | str | tuple | torch.Tensor):
            found[str(name)] = str(float(value) if isinstance(value, torch.Tensor) else value)[:60]
    return found


def has_gradient(parameter: torch.Tensor) -> bool:
    with quiet():
        return parameter.grad is not None and bool(parameter.grad.detach().any())


def before_backward(roots: list[torch.Tensor]) -> None:
    gradients[:] = [Before([each for one in seen for each in one.parameters()])]


def after_backward(roots: list[torch.Tensor], asked: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """A backward pass counts for the optimizers whose gradients it made."""
    touched = gradients.pop().touched()
    asked_for = {id(leaf) for leaf, _ in asked}
    for one in seen:
        own = {id(each) for each in one.parameters()}
        if own & asked_for:
            event("autograd.grad", one.optimizer)
        elif own & set(touched):
            onto = any(touched.get(each) for each in own)
            event("backward onto gradients already there" if onto else "backward", one.optimizer)


def before_step(optimizer: Optimizer, closure: bool) -> None:
    one = seen_of(optimizer)
    if one is None:
        return
    if not one.settings:
        one.settings = [scalars(group) for group in optimizer.param_groups[:MOST_GROUPS]]
    for index, group in enumerate(optimizer.param_groups[:MOST_GROUPS]):
        if index == len(one.rates):
            one.rates.append([])
            one.changes.append(0)
        rate, runs = float(group["lr"]) if "lr" in group else None, one.rates[index]
        if runs and repr(runs[-1][0]) == repr(rate):  # nan is one rate, too
            runs[-1][1] += 1
        else:
            one.changes[index] += bool(runs)
            runs.append([rate, 1])
            if len(runs) > MOST_RATES:
                del runs[MOST_RATES // 2]
    if not closure:
        own = [id(each) for each in one.parameters() if has_gradient(each)]
        one.empty += not own
        one.with_gradient.update(own)
        note_pattern(one)


def after_step(optimizer: Optimizer) -> None:
    one = seen_of(optimizer)
    if one is None:
        return
    one.steps += 1
    if one.events:  # those of a closure, inside the step
        one.with_gradient.update(id(each) for each in one.parameters() if has_gradient(each))
        note_pattern(one)
    for other in seen:
        if other is not one:
            event(f"step of {label(optimizer)}", other.optimizer)
    counts["steps"] += 1
    if counts["steps"] <= WRITTEN_STEPS:
        write(report)


def note_pattern(one: Seen) -> None:
    """Count what came since the last step, equal events in a row as one with a number."""
    runs: list[list[Any]] = []
    for text in one.events:
        if runs and runs[-1][0] == text:
            runs[-1][1] += 1
        else:
            runs.append([text, 1])
    texts = [text if times == 1 else f"{text} ×{times}" for text, times in runs]
    if len(texts) > LONGEST_PATTERN:
        texts = [*texts[:LONGEST_PATTERN], "…"]
    pattern = ", ".join(texts) or "nothing"
    if pattern in one.patterns or len(one.patterns) < MOST_PATTERNS:
        one.patterns[pattern] += 1
    else:
        one.other_patterns += 1
    one.events.clear()


def watch_zeroing() -> None:
    original, of_module = Optimizer.zero_grad, torch.nn.Module.zero_grad

    @functools.wraps(original)
    def zero_grad(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if not forked():
            with guarded():
                one = seen_of(self)
                if one is not None:
                    one.zeroed += 1
                    event("zero_grad", self)
        return original(self, *args, **kwargs)

    @functools.wraps(of_module)
    def zero_grad_of_module(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not forked():
            with guarded():
                event(f"zero_grad of {names.module(self)}")
        return of_module(self, *args, **kwargs)

    Optimizer.zero_grad = zero_grad  # type: ignore[method-assign]
    torch.nn.Module.zero_grad = zero_grad_of_module  # type: ignore[method-assign]


def watch_making() -> None:
    original = Optimizer.__init__

    @functools.wraps(original)
    def __init__(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        with guarded():
            seen_of(self)

    Optimizer.__init__ = __init__  # type: ignore[method-assign]


def watch_schedulers() -> None:
    for kind in vars(lr_scheduler).values():
        if isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler) and "step" in vars(kind):
            kind.step = scheduling(kind.step)  # type: ignore[method-assign]


running: list[Any] = []
"""Schedulers whose step runs now: those that step others are one."""


def scheduling(original: Any) -> Any:
    @functools.wraps(original)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        outermost = not running and not getattr(self, "_is_initial", False) and not forked()
        running.append(self)
        try:
            found = original(self, *args, **kwargs)
        finally:
            running.pop()
        if outermost:
            with guarded():
                note_scheduler(self)
        return found

    return step


def note_scheduler(scheduler: Any) -> None:
    if id(scheduler) not in schedulers and len(schedulers) < MOST_OPTIMIZERS:
        optimizer = getattr(scheduler, "optimizer", None)
        found = {"class": type(scheduler).__name__, "of": label(optimizer) if optimizer else "", "steps": 0}
        schedulers[id(scheduler)] = (scheduler, found)
        report["schedulers"].append(found)
    if id(scheduler) in schedulers:
        schedulers[id(scheduler)][1]["steps"] += 1
        event(f"step of {type(scheduler).__name__}", getattr(scheduler, "optimizer", None))


def summary() -> None:
    """Make figures of what was noted."""
    held = {id(one) for optimizer in seen for one in optimizer.parameters()}
    report["optimizers"] = [described(one) for one in seen]
    known = [one for root in names.roots for one in root.parameters()]
    free = [names.parameter(one) for one in known if one.requires_grad and id(one) not in held]
    frozen = [names.parameter(one) for one in known if not one.requires_grad]
    report["free"], report["frozen"] = [len(free), free[:MOST_NAMES]], [len(frozen), frozen[:MOST_NAMES]]
    report["models"] = [
        [type(root).__name__, len(list(root.parameters())), sum(one.numel() for one in root.parameters())]
        for root in names.roots
    ]


def described(one: Seen) -> dict[str, Any]:
    own = one.parameters()
    foreign = sum(not names.known(each) for each in own) if names.roots else 0
    never = [names.parameter(each) for each in own if id(each) not in one.with_gradient]
    now = [scalars(group) for group in one.optimizer.param_groups[:MOST_GROUPS]]
    first = one.settings or now
    return {
        "class": label(one.optimizer),
        "groups": [
            {
                "parameters": len(group["params"]),
                "elements": sum(each.numel() for each in group["params"]),
                "lr": float(group["lr"]) if "lr" in group else None,
                "rates": one.rates[index] if index < len(one.rates) else [],
                "changes": one.changes[index] if index < len(one.changes) else 0,
                "settings": first[index] if index < len(first) else {},
                "changed": dict(sorted(now[index].items() - first[index].items()))
                if index < len(first)
                else {},
            }
            for index, group in enumerate(one.optimizer.param_groups[:MOST_GROUPS])
        ],
        "more_groups": max(0, len(one.optimizer.param_groups) - MOST_GROUPS),
        "steps": one.steps,
        "zeroed": one.zeroed,
        "empty": one.empty,
        "patterns": [[text, times] for text, times in one.patterns.most_common()],
        "other_patterns": one.other_patterns,
        "foreign": foreign,
        "never": [len(never), never[:MOST_NAMES]],
    }


def guarded_summary() -> None:
    with guarded():
        summary()


report.update(optimizers=[], schedulers=[], free=[0, []], frozen=[0, []], models=[])
before_writing.append(guarded_summary)
Calls(names)
watch_making()
watch_zeroing()
watch_schedulers()
watch_backward(before_backward, after_backward)
watch_steps(before_step, after_step)
run(report, settings()["entrypoint"])
