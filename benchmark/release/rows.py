"""The three rows of a task: what an agent may see, the solution, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...clean_scripts.library import load_job
from ...factory import Variant
from ...mutators.normal_form import form_digest
from ...mutators.workspace import Workspace
from ...task_folder import task_record, truth_record, validation_record
from .difficulty import difficulty
from .plan import Plan

Row = dict[str, Any]


def form_of(variant: Variant) -> str:
    """The hash of the broken program's normal form."""
    return form_digest(Workspace.of(variant.files, variant.entrypoint))


def task_row(variant: Variant, form: str, plan: Plan) -> Row:
    """What an agent may be given: `task.json`, and the broken sources. Script, data seed and level are left
    out: each of them tells something of the answer."""
    return _stamped(plan) | task_record(variant) | {
        "split": plan.split(variant.script, form),
        "files": dict(variant.files),
        "data_sha256": variant.data["sha256"],
    }  # fmt: skip


def solution_row(variant: Variant, form: str, plan: Plan) -> Row:
    """What makes a task row whole again (`output.release_rows.joined`)."""
    return _stamped(plan) | {
        "id": variant.id,
        "form": form,
        "reference": dict(variant.reference),
        "truth": truth_record(variant),
    }


def measured(variant: Variant) -> Row:
    """What the proof of a variant measured, with its margins: the distance to where it would not count."""
    record = validation_record(variant)
    assert record is not None, "only what was executed is released"
    for name in ("schema", "shared_with", "verified"):
        del record[name]
    band = load_job(variant.script).band
    reference = record["reference"]
    reference |= {
        "floor": band.floor,
        "margin": round(min(reference["visible"], reference["hidden"]) - band.floor, 6),
    }
    for finding in record["findings"].values():
        effect, floor = finding["effect"], finding["floor"]
        known = isinstance(effect, int | float) and isinstance(floor, int | float)
        finding["margin"] = round(effect - floor, 6) if known else None
    return record


def validation_row(id: str, record: Mapping[str, Any], agents: Mapping[str, float], plan: Plan) -> Row:
    """What was measured, how agents fared, and the level that follows."""
    return _stamped(plan) | dict(record) | {
        "id": id,
        "agents": dict(agents),
        "level": difficulty(record["traits"], agents),
    }  # fmt: skip


def _stamped(plan: Plan) -> Row:
    return {"release": plan.release, "canary": plan.canary}
