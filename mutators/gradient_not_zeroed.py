"""Old gradients meet new ones: they are not cleared, or not where and when they should be."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst

from . import resets
from .analysis import Script
from .base import Example, Manifestation, Mutator, Site
from .editing import delete_statement, insert_after, insert_before, replace
from .manual_resets import can_leave, manual_resets
from .reset_examples import (
    CLEARED_AFTER_BACKWARD,
    CLEARED_BEFORE_STEP,
    CLIPPED,
    GAN,
    HEAD,
    HEADED,
    KTH,
    LOADER,
    MANUAL,
    ONCE_AFTER,
    ONCE_BEFORE,
    SLICES,
)
from .resets import call_resets
from .workspace import Edit


class CallRemoved(Manifestation):
    name: ClassVar[str] = "call_removed"
    summary: ClassVar[str] = (
        "Nobody clears the gradients, so every step uses the sum of all gradients so far."
    )
    seen_in: ClassVar[str] = "Bug catalogue of this project: gradients not zeroed, removed call"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(HEAD + LOADER, HEAD + LOADER.replace("        optimizer.zero_grad()\n", "")),
    )

    def sites(self, script: Script) -> list[Site]:
        return [
            script.site(reset.call)
            for reset in call_resets(script)
            if not resets.others_stepped(script, reset) and can_leave(script, reset.call)
        ]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        return (delete_statement(script, script.node_at(site, cst.Call)),)


class OneOfTwo(Manifestation):
    name: ClassVar[str] = "one_of_two"
    summary: ClassVar[str] = "With two optimizers in the loop, one of them never has its gradients cleared."
    seen_in: ClassVar[str] = "Real reports: zero_grad missing for one of two optimizers"
    examples: ClassVar[tuple[Example, ...]] = (Example(GAN, GAN.replace("        opt_c.zero_grad()\n", "")),)

    def sites(self, script: Script) -> list[Site]:
        return [
            script.site(reset.call)
            for reset in call_resets(script)
            if resets.others_stepped(script, reset) and can_leave(script, reset.call)
        ]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        return (delete_statement(script, script.node_at(site, cst.Call)),)


class OncePerEpoch(Manifestation):
    name: ClassVar[str] = "once_per_epoch"
    summary: ClassVar[str] = (
        "The gradients are cleared outside the batch loop: once an epoch, not every batch."
    )
    seen_in: ClassVar[str] = "Real reports: zero_grad called once per epoch"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(HEAD + LOADER, HEAD + ONCE_BEFORE),
        Example(HEAD + LOADER, HEAD + ONCE_AFTER, choice=1),
    )

    def sites(self, script: Script) -> list[Site]:
        found = []
        for reset in call_resets(script):
            if reset.loop is None or not can_leave(script, reset.call):
                continue
            if resets.cleared_beside(script, reset):
                continue
            found.append(script.site(reset.call, choices=2 if resets.repeats(script, reset.loop) else 1))
        return found

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        reset = resets.reset_at(script, site)
        assert reset.loop is not None
        place = insert_after if choice else insert_before
        moved = place(script, reset.loop, script.text(reset.call))
        return tuple(sorted((delete_statement(script, reset.call), moved)))


class BetweenBackwardAndStep(Manifestation):
    name: ClassVar[str] = "between_backward_and_step"
    summary: ClassVar[str] = "Gradients are cleared after backward and before step: every step is empty."
    seen_in: ClassVar[str] = "Bug catalogue of this project: zero_grad misplaced, after backward"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(HEAD + CLIPPED, HEAD + CLEARED_BEFORE_STEP),
        Example(HEAD + CLIPPED, HEAD + CLEARED_AFTER_BACKWARD, choice=1),
    )

    def sites(self, script: Script) -> list[Site]:
        found = []
        for reset in call_resets(script):
            anchors = resets.between(script, reset)
            if anchors and can_leave(script, reset.call):
                found.append(script.site(reset.call, choices=len(anchors)))
        return found

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        reset = resets.reset_at(script, site)
        anchor = resets.between(script, reset)[choice]
        text = script.text(reset.call)
        return tuple(sorted((delete_statement(script, reset.call), insert_before(script, anchor, text))))


PERIODS = (16, 32)
"""Every how many batches gradients are cleared. The sum of two to four gradients is close to a larger
learning rate, which adaptive optimizers hardly feel (loss ×1.0 on the library's jobs, and ×1.1 on the
tabular one with eight); from 16 on most of a step is out of date."""


class EveryKthBatch(Manifestation):
    name: ClassVar[str] = "every_kth_batch"
    summary: ClassVar[str] = (
        "Half of gradient accumulation: cleared every few batches, but stepped every batch."
    )
    seen_in: ClassVar[str] = (
        "A variation of misplaced zero_grad: gradient accumulation done by half (no report at hand)"
    )
    examples: ClassVar[tuple[Example, ...]] = (
        Example(HEAD + LOADER, HEAD + KTH),
        Example(
            HEAD + SLICES,
            HEAD
            + SLICES.replace(
                "    optimizer.zero_grad()\n",
                "    if start % (32 * batch_size) == 0:\n        optimizer.zero_grad()\n",
            ),
            choice=1,
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        return [
            script.site(reset.call, choices=len(PERIODS))
            for reset in call_resets(script)
            if resets.every_batch(script, reset) and resets.counter(script, reset, PERIODS[0]) is not None
        ]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        reset = resets.reset_at(script, site)
        counted = resets.counter(script, reset, PERIODS[choice])
        assert counted is not None
        condition, edits = counted
        line = script.statement(reset.call)
        file = script.file(line)
        start, _ = file.span(line)
        indent = file.slice(file.line_start(start), start)
        body = f"{indent}{file.module.default_indent}{script.text(reset.call)}"
        guarded = replace(script, reset.call, f"if {condition}:{file.module.default_newline}{body}")
        return tuple(sorted((*edits, guarded)))


class WrongObject(Manifestation):
    name: ClassVar[str] = "wrong_object"
    summary: ClassVar[str] = (
        "zero_grad is called, but on another object: a submodule, the other optimizer, the loss."
    )
    seen_in: ClassVar[str] = "A variation of zero_grad missing for one of two optimizers (no report at hand)"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(GAN, GAN.replace("opt_c.zero_grad()", "opt_g.zero_grad()")),
        Example(HEADED, HEADED.replace("optimizer.zero_grad()", "model.head.zero_grad()")),
        Example(HEADED, HEADED.replace("optimizer.zero_grad()", "criterion.zero_grad()"), choice=1),
    )

    def sites(self, script: Script) -> list[Site]:
        found = []
        for reset in call_resets(script):
            objects = resets.other_objects(script, reset)
            if objects:
                found.append(script.site(reset.call, choices=len(objects)))
        return found

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        reset = resets.reset_at(script, site)
        assert isinstance(reset.call.func, cst.Attribute)
        return (replace(script, reset.call.func.value, resets.other_objects(script, reset)[choice]),)


class ManualResetRemoved(Manifestation):
    name: ClassVar[str] = "manual_reset_removed"
    summary: ClassVar[str] = (
        "The gradients that the code cleared by hand (`p.grad = None`) are left to add up."
    )
    seen_in: ClassVar[str] = "The removed call in hand-written descent loops (no report at hand)"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(MANUAL, MANUAL.replace("            p.grad = None\n", "")),
        Example(
            HEAD
            + LOADER.replace(
                "optimizer.zero_grad()", "for p in model.parameters():\n            p.grad = None"
            ),
            HEAD + LOADER.replace("        optimizer.zero_grad()\n", ""),
        ),
    )

    def sites(self, script: Script) -> list[Site]:
        return [script.site(reset.statement) for reset in manual_resets(script)]

    def edits(self, script: Script, site: Site, choice: int) -> tuple[Edit, ...]:
        kinds = (cst.For, cst.Assign, cst.Expr)
        return (delete_statement(script, script.node_at(site, kinds)),)


class GradientNotZeroed(Mutator):
    """PyTorch adds each backward pass to the gradients that are already there. Unless they are cleared before
    the next one, an optimizer steps along a mixture of old and new gradients; if they are cleared between
    backward and step, it does not step at all. Nothing crashes. The loss falls too slowly, swings or never
    moves, and learning rates tuned on such a loop hide the cause."""

    bug_class = "gradient_not_zeroed"
    short = "zero_grad"
    manifestations = (
        CallRemoved(),
        OneOfTwo(),
        OncePerEpoch(),
        BetweenBackwardAndStep(),
        EveryKthBatch(),
        WrongObject(),
        ManualResetRemoved(),
    )
