"""One proof for variants that are the same program on the same data, and a record that says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mldebug import factory
from mldebug.factory import Draft, Request, draft, verified
from mldebug.grader.oracles.base import Finding
from mldebug.grader.runner import Pool
from mldebug.grader.shared_proofs import SharedProofs
from mldebug.grader.validate import Validation
from mldebug.mutators.normal_form import own_names
from mldebug.mutators.workspace import Workspace, splice
from mldebug.task_folder import validation_record

REQUEST = Request(("missing_eval_mode",), 5, script="tabular_classifier")


def respelled(drawn: Draft, old: str, new: str) -> Draft:
    """The draft with its sources changed behind the places that its edits are for."""
    files = {path: text + "\n" + new if path == "train.py" else text for path, text in drawn.base}
    base = Workspace.of(files, drawn.base.entrypoint)
    broken = splice(base, factory.edits_of(drawn.variant.injections))
    variant = replace(drawn.variant, id=old, files=broken.files, reference=base.files)
    return Draft(variant, base)


def never(request: Any) -> Any:
    pytest.fail("it was executed again")


def test_a_variant_that_is_the_same_program_on_the_same_data_is_not_executed_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedProofs()
    first = verified(REQUEST, pool.run, shared)
    assert first.shared_with is None and first.attempt < factory.ATTEMPTS
    drawn = draft(REQUEST, first.attempt)
    again = respelled(drawn, "again", "# by somebody else\nif False:\n    print(  '%')\n")
    other = respelled(drawn, "other", "print('%')\n")
    monkeypatch.setattr(factory, "draft", lambda request, attempt: again)
    second = verified(REQUEST, never, shared)
    assert second.verified and second.alert == first.alert and second.shared_with == first.id
    record, theirs = validation_record(second), validation_record(first)
    assert record is not None and theirs is not None
    assert record == theirs | {"shared_with": first.id, "discarded": []}
    assert shared.find(other.candidate()) is None
    for change in ({"visible_seed": 1}, {"hidden_seed": 1}, {"device": "cuda"}, {"device": "cpu"}):
        candidate = replace(again.candidate(), **change)
        assert (shared.find(candidate) is not None) == (candidate == again.candidate())
    assert second.validation is not None and second.validation.broken is not None
    assert second.validation.broken.outputs is None and not second.validation.broken.result.stdout


def test_a_proof_that_rests_on_a_message_with_names_in_it_is_not_shared() -> None:
    candidate = draft(REQUEST, 0).candidate()
    name = sorted(own_names(candidate.broken))[0]
    for message, kept in (("mat1 and mat2 cannot be multiplied", True), (f"no {name} here", False)):
        reason = f"the job crashes on shapes (RuntimeError: {message})"
        shared = SharedProofs()
        shared.add(
            "x", candidate, Validation(None, {"shape_mismatch": Finding("shape_mismatch", True, reason)}), ""
        )
        assert (shared.find(candidate) is not None) is kept
    shared.add("x", candidate, Validation("equivalent shape_mismatch: nothing is seen"), "")
    assert shared.find(candidate) is None  # what was discarded is executed again
