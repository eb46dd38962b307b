"""Evaluation again: a forward pass without gradients is repeated on the same input in a fork of the process,
so that nothing of the job is touched, not its random numbers either."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from .attach import run, settings, write
from .describe import figures, kinds, quiet, tensors_in, values
from .watch import Call, Calls, Names, report, where

REPETITIONS = 3
PER_GROUP = 4
"""Calls of one group that are repeated: the first ones."""
MOST_REPEATED = 60
MOST_GROUPS = 16
LONGEST_SECONDS = 10.0
MOST_ANSWER = 1 << 16

names = Names()
groups: dict[Any, dict[str, Any]] = {}
counts = {"repeated": 0}
_leave = os._exit


def flags(root: nn.Module) -> list[list[Any]]:
    """Layers whose result depends on their mode: class, how many are in training mode, how many there are."""
    found: dict[str, list[int]] = {}
    for module in root.modules():
        recurrent = isinstance(module, nn.RNNBase) and module.dropout > 0 and module.num_layers > 1
        attention = isinstance(module, nn.MultiheadAttention) and module.dropout > 0
        if isinstance(module, _DropoutNd | _NormBase) or recurrent or attention:
            entry = found.setdefault(type(module).__name__, [0, 0])
            entry[0] += module.training
            entry[1] += 1
    return [[name, *numbers] for name, numbers in sorted(found.items())][:12]


def after(call: Call) -> None:
    if not call.is_root or next(call.module.parameters(), None) is None:
        return
    if call.gradients and call.module.training:
        report["training_calls"] += 1
        return
    layers, place = flags(call.module), where()
    key = (id(call.module), str(place), call.module.training, call.gradients, str(layers))
    group = groups.get(key)
    if group is None:
        if len(groups) >= MOST_GROUPS:
            report["more_groups"] = True
            return
        group = groups[key] = {
            "model": names.module(call.module),
            "place": place,
            "training": call.module.training,
            "gradients": call.gradients,
            "layers": layers,
            "in": kinds((*call.args, *call.kwargs.values())),
            "calls": 0,
            "repeated": 0,
            "failed": "",
            "again": None,
            "halves": None,
            "std": None,
        }
        report["groups"].append(group)
    group["calls"] += 1
    if group["repeated"] < PER_GROUP and counts["repeated"] < MOST_REPEATED and not group["failed"]:
        counts["repeated"] += 1
        note(group, in_fork(call))
        write(report)


def note(group: dict[str, Any], answer: dict[str, Any]) -> None:
    if "failed" in answer:
        group["failed"] = answer["failed"]
        return
    group["repeated"] += 1
    for name in ("again", "halves"):
        if answer[name] is not None:
            group[name] = max(group[name] or 0.0, answer[name])
    group["std"] = max(group["std"] or 0.0, answer["std"])


def in_fork(call: Call) -> dict[str, Any]:
    """What the repetitions showed, or why there are none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for one in (0, 1, 2):
                os.dup2(nowhere, one)
            try:
                answer = repeated(call)
            except Exception as error:
                answer = {"failed": type(error).__name__}
            os.write(writer, json.dumps(answer).encode())
        finally:
            _leave(0)
    os.close(writer)
    try:
        content = b""
        while len(content) < MOST_ANSWER:
            if not select.select([reader], [], [], LONGEST_SECONDS)[0]:
                return {"failed": "it took too long"}
            piece = os.read(reader, MOST_ANSWER)
            if not piece:
                break
            content += piece
        answer = json.loads(content or b"{}")
        return dict(answer) if "std" in answer or "failed" in answer else {"failed": "it ended the process"}
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def repeated(call: Call) -> dict[str, Any]:
    """The largest differences to the job's own result: of the same call again, and of the same rows given in
    two halves (None where the call has no rows to halve). std: of the job's result."""
    first = output(call.result)
    again = [difference(first, output(call.module(*call.args, **call.kwargs))) for _ in range(REPETITIONS)]
    spread = figures(first)
    return {"again": max(again), "halves": halves(call, first), "std": float(spread.get("std", 0.0))}


def halves(call: Call, first: torch.Tensor) -> float | None:
    given = call.first()
    if len(call.args) != 1 or call.kwargs or call.args[0] is not given or not given.dim() or not first.dim():
        return None
    rows = given.shape[0]
    if rows < 4 or first.shape[0] != rows:
        return None
    parts = [output(call.module(part)) for part in (given[: rows // 2], given[rows // 2 :])]
    if any(part.shape[1:] != first.shape[1:] for part in parts) or sum(map(len, parts)) != rows:
        return None
    return difference(first, torch.cat(parts))


def output(result: Any) -> torch.Tensor:
    return next(tensors_in(result))


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest one between elements; infinite where shapes differ or only one is finite."""
    if one.shape != other.shape:
        return float("inf")
    with quiet():
        left, right = values(one), values(other)
        if not torch.equal(torch.isfinite(left), torch.isfinite(right)):
            return float("inf")
        gaps = (left - right).abs()
        gaps = gaps[torch.isfinite(gaps)]
        return float(gaps.max()) if gaps.numel() else 0.0


report.update(groups=[], training_calls=0, more_groups=False)
Calls(names, after=after)
run(report, settings()["entrypoint"])
