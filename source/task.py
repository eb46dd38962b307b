"""A task of somebody's own script on disk and as a JSON row, and read back for grading."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..factory import opaque_id
from ..grader.by_trace.job import LONGEST_TIMEOUT, OwnJob
from ..grader.by_trace.task import OwnTask
from ..grader.runner.folder import checked_path
from ..mutators.base import canonical_bugs, mutator
from ..mutators.workspace import Workspace, unified_patch
from ..task_folder import (
    SCHEMA,
    agent_record,
    canonical_json,
    finding_record,
    injection_records,
    line_of,
    plain,
)
from ..versions import made_by, run_by
from .factory import OwnVariant
from .folder import files_sha256


def is_own(truth: Any) -> bool:
    """Whether a truth record is of a task that was made of somebody's own script."""
    return isinstance(truth, Mapping) and truth.get("script", "") is None and "source" in truth


def truth_record(variant: OwnVariant) -> dict[str, Any]:
    """`solution/truth.json`: what the bytes follow from, beside the script itself."""
    source, request = variant.source, variant.request
    return {
        "schema": SCHEMA,
        "id": variant.id,
        "bugs": list(variant.bugs),
        "script": None,
        "source": {
            "name": source.name,
            "sha256": source.sources_sha256(),
            "data": {name: hashlib.sha256(content).hexdigest() for name, content in source.data.items()},
            "arguments": list(request.arguments),
            "timeout": request.timeout,
            "setup": request.setup,
        },
        "style": None,
        "seed": variant.seed,
        "index": variant.index,
        "attempt": variant.attempt,
        "device": variant.job.device,
        "data": _data_record(source.data_sha256()),
        "hidden_data_seed": None,
        "injections": injection_records(variant.injections, variant.reference),
        "versions": made_by(),
    }


def _data_record(sha256: str) -> dict[str, Any]:
    return {"generator": None, "version": None, "seed": None, "sha256": sha256}


def validation_record(variant: OwnVariant) -> dict[str, Any] | None:
    """`validation.json`: what was run, and with which result; None for an unverified variant."""
    proof = variant.proof
    if proof is None or proof.broken is None:
        return None
    result = proof.broken.result
    return {
        "schema": SCHEMA,
        "verified": proof.ok,
        "by": "trace",
        "alert": variant.alert,
        "runs": variant.runs,
        "seconds": round(variant.seconds, 3),
        "original": {"repeatable": variant.repeatable, "final_loss": plain(variant.final_loss)},
        "mutant": {"outcome": result.outcome, "exit_code": result.exit_code},
        "findings": {bug: finding_record(finding) for bug, finding in proof.findings.items()},
        "discarded": list(variant.discarded),
        "guarantees": list(result.guarantees),
        "versions": run_by(),
    }


def _task_record(id: str, alert: str | None, entrypoint: str, arguments: list[str]) -> dict[str, Any]:
    return agent_record(id, alert, entrypoint) | {"arguments": arguments}


def own_files(variant: OwnVariant) -> dict[str, bytes]:
    """Path relative to the task folder → content."""
    files = _files(
        _task_record(variant.id, variant.alert, variant.entrypoint, list(variant.request.arguments)),
        truth_record(variant),
        variant.files,
        variant.reference,
        variant.source.data,
    )
    record = validation_record(variant)
    if record is not None:
        files["validation.json"] = canonical_json(record).encode()
    return files


def _files(
    record: Mapping[str, Any],
    truth: Mapping[str, Any],
    files: Mapping[str, str],
    reference: Mapping[str, str],
    data: Mapping[str, bytes],
) -> dict[str, bytes]:
    found = {
        "task.json": canonical_json(record).encode(),
        "solution/truth.json": canonical_json(truth).encode(),
        "solution/fix.patch": unified_patch(files, reference).encode(),
    }
    found |= {f"workspace/{name}": text.encode() for name, text in files.items()}
    found |= {f"workspace/{name}": content for name, content in data.items()}
    found |= {f"solution/reference/{name}": text.encode() for name, text in reference.items()}
    return found


def own_row(variant: OwnVariant) -> dict[str, Any]:
    """One line of `--jsonl`, the data with it (base64). Holds the truth."""
    data = {name: base64.b64encode(content).decode() for name, content in variant.source.data.items()}
    return {
        "id": variant.id,
        "bugs": list(variant.bugs),
        "script": None,
        "seed": variant.seed,
        "index": variant.index,
        "attempt": variant.attempt,
        "alert": variant.alert,
        "entrypoint": variant.entrypoint,
        "device": variant.job.device,
        "files": dict(variant.files),
        "reference": dict(variant.reference),
        "data": _data_record(variant.source.data_sha256()) | {"files": data},
        "truth": truth_record(variant),
        "verified": variant.verified,
    }


def own_row_files(row: Mapping[str, Any]) -> tuple[str, dict[str, bytes]]:
    """The id of a row's task, and its folder; see `task_folder.row_files`.

    Raises:
        UsageError: the row is not whole, or was changed.
    """
    try:
        task, data = _of_row(row)
        record = _task_record(task.id, row["alert"], str(row["entrypoint"]), list(task.job.arguments))
        return task.id, _files(record, row["truth"], task.broken.files, task.reference.files, data)
    except _BROKEN as error:
        raise UsageError(f"not a row that `mldebug gen --jsonl` printed ({error})") from None


_BROKEN = (KeyError, TypeError, ValueError, AttributeError, binascii.Error)


def own_task_of_row(row: Mapping[str, Any]) -> OwnTask:
    """The task of one line that `mldebug gen --source … --jsonl` printed.

    Raises:
        UsageError: the row is not whole, or was changed.
    """
    try:
        return _of_row(row)[0]
    except _BROKEN as error:
        raise UsageError(f"this is not a row that `mldebug gen --jsonl` printed ({error})") from None


def _of_row(row: Mapping[str, Any]) -> tuple[OwnTask, dict[str, bytes]]:
    data = {
        str(checked_path(name)): base64.b64decode(text, validate=True)
        for name, text in row["data"]["files"].items()
    }
    for name in (*row["files"], *row["reference"]):
        checked_path(name)
    files, reference = dict(row["files"]), dict(row["reference"])
    task = _task(str(row["id"]), row["truth"], files, reference, data, str(row["entrypoint"]))
    if not opaque_id(task.broken, files_sha256(data)) == row["id"] == row["truth"]["id"]:
        raise ValueError("its sources are not those that its id was made from")
    return task, data


def own_task_of_folder(folder: Path, records: Mapping[str, Any], reference: Mapping[str, str]) -> OwnTask:
    """The task of a folder that `mldebug gen --source` wrote. reference: the texts of its solution.

    Raises:
        UsageError: it is not whole, or a file of the job's data was changed.
    """
    try:
        truth, task = records["truth"], records["task"]
        files = {name: _read(folder, name).decode() for name in reference}
        data = {str(checked_path(name)): _read(folder, name) for name in truth["source"]["data"]}
        return _task(str(task["id"]), truth, files, reference, data, str(task["entrypoint"]))
    except _BROKEN as error:
        raise UsageError(
            f"{folder}: its records are not those of a task ({type(error).__name__}: {error}); "
            "generate it again"
        ) from None


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / "workspace" / name).read_bytes()
    except OSError as error:
        raise UsageError(f"{folder}: workspace/{name} cannot be read ({error.strerror})") from None


def _task(
    id: str,
    truth: Mapping[str, Any],
    files: Mapping[str, str],
    reference: Mapping[str, str],
    data: Mapping[str, bytes],
    entrypoint: str,
) -> OwnTask:
    source = truth["source"]
    for name, content in data.items():
        if hashlib.sha256(content).hexdigest() != source["data"].get(name):
            raise UsageError(f"task {id}: {name} is not the file that the task was made with; restore it")
    if set(data) != set(source["data"]) or files_sha256(data) != truth["data"]["sha256"]:
        raise ValueError("its data is not whole")
    texts = {name: text.encode() for name, text in reference.items()}
    if files_sha256(texts) != source["sha256"] or entrypoint not in files or set(files) != set(reference):
        raise ValueError("its sources are not those it was made with")
    if truth["device"] not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {truth['device']!r}")
    timeout = float(source["timeout"])
    if not 0 < timeout <= LONGEST_TIMEOUT:
        raise ValueError(f"a time limit of {timeout}")
    arguments = tuple(source["arguments"])
    if not all(isinstance(one, str) for one in arguments):
        raise ValueError("arguments that are no text")
    return OwnTask(
        id=id,
        bugs=canonical_bugs(list(truth["bugs"])),
        job=OwnJob(data, truth["device"], arguments, timeout),
        broken=Workspace.of(files, entrypoint),
        reference=Workspace.of(reference, entrypoint),
        causes={
            one["bug"]: mutator(one["bug"]).manifestation(one["manifestation"]).summary
            for one in truth["injections"]
        },
        places={
            one["bug"]: f"{one['site']['file']}:{one['site']['line']} in {one['site']['function']}"
            for one in truth["injections"]
        },
    )


def own_task_of_variant(variant: OwnVariant) -> OwnTask:
    """A variant's task."""
    places = {}
    for one in variant.injections:
        line = line_of(variant.reference[one.site.file], one.site.start)
        places[one.bug_class] = f"{one.site.file}:{line} in {one.site.qualname}"
    return OwnTask(
        id=variant.id,
        bugs=variant.bugs,
        job=variant.job,
        broken=Workspace.of(variant.files, variant.entrypoint),
        reference=variant.source.workspace,
        causes={
            one.bug_class: mutator(one.bug_class).manifestation(one.manifestation).summary
            for one in variant.injections
        },
        places=places,
    )
