"""Devices: an exception that speaks of devices, or training and evaluation that left the accelerator."""

from __future__ import annotations

from .base import Case, Finding
from .crashes import crashes

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
