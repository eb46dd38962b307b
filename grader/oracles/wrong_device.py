"""Devices: an exception that speaks of devices, or training and evaluation that left the accelerator."""

from __future__ import annotations

from ..by_trace.case import Traced, number
from .base import Case, Finding, Repair, swallowed, swallowed_more
from .crashes import crash_of, crashes

NAME = "wrong_device"


def judge(case: Case) -> Finding:
    if texts := crashes(case.evidence, "device"):
        return Finding(NAME, True, f"the job crashes on devices ({texts[0]})", effect=1.0, floor=1.0)
    for kind in ("step", "eval"):
        for run, reference in zip(case.evidence.runs, case.reference.runs, strict=False):
            ours, theirs = run.trace.get("devices", {}), reference.trace.get("devices", {})
            if theirs.get(f"{kind}_cuda", 0) and not theirs.get(f"{kind}_cpu", 0) and ours.get(f"{kind}_cpu"):
                what = "optimizer steps" if kind == "step" else "evaluation forwards"
                count = ours[f"{kind}_cpu"]
                return Finding(
                    NAME, True, f"{count} {what} ran on the CPU, none of the reference's did", count, 1.0
                )
    return Finding(NAME, False, "no exception about devices; work stayed where the reference's does")


def still_there(repair: Repair) -> str | None:
    """Two keys: the trace says where work was done, and results that change when the accelerator's products
    are shifted say that it really was."""
    finding = judge(repair.case)
    if finding.present:
        return finding.reason
    ours, theirs = (exam.hidden.trace.get("devices", {}) for exam in (repair.submission, repair.reference))
    if theirs.get("train_cuda", 0) and not theirs.get("train_cpu", 0) and ours.get("train_cpu", 0):
        return f"{ours['train_cpu']} training forwards ran on the CPU, none of the reference's did"
    return swallowed(repair) or (not_shifted(repair) if theirs.get("train_cuda", 0) else None)


def not_shifted(repair: Repair) -> str | None:
    """Whether training or predictions stay as they were on an accelerator whose products are shifted.

    A submission that computed exactly what the reference did must do so there too.
    """
    if repair.submission.observer.real_accelerator:
        return None
    plain, shifted = repair.submission.hidden, repair.submission.shifted
    if plain.outputs is None or shifted.outputs is None:
        return None
    if plain.outputs.same_as(shifted.outputs):
        return "its results do not depend on the accelerator"
    if plain.trace.get("losses_digest") == shifted.trace.get("losses_digest"):
        return "its training does not depend on the accelerator"
    theirs = repair.reference
    if plain.outputs.same_as(theirs.hidden.outputs) and not shifted.outputs.same_as(theirs.shifted.outputs):
        return "a part of the work that the reference does on the accelerator is done elsewhere"
    return None


def sign(traced: Traced) -> Finding:
    """An exception that speaks of devices, or work that left the accelerator which the original uses."""
    crash = crash_of(traced.run)
    if crash is not None and crash[0] == "device":
        return Finding(NAME, True, f"the script crashes on devices ({crash[1]})", 1.0, 1.0)
    kinds = {"step": "optimizer steps", "eval": "evaluation forwards"}
    if traced.strict:
        kinds["train"] = "training forwards"
    for kind, what in kinds.items():
        ours = number(traced.run, "devices", f"{kind}_cpu")
        theirs = [number(traced.original.first, "devices", f"{kind}_{where}") for where in ("cpu", "cuda")]
        on_accelerator = number(traced.run, "devices", f"{kind}_cuda")
        if traced.unasked and kind == "eval" and on_accelerator >= theirs[1]:
            continue  # the model was tried, beside all that the original evaluates
        if ours and theirs[1] and not theirs[0]:
            reason = f"{ours:.0f} {what} ran on the CPU, none of the original's did"
            return Finding(NAME, True, reason, ours, 1.0)
    if traced.strict and (found := swallowed_more(traced)):
        return Finding(NAME, True, found)
    return Finding(NAME, False, "no exception about devices; work stayed where the original's does")
