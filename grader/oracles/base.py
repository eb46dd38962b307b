"""What an oracle is: for one bug class, decides from evidence whether the bug is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np

from ...clean_scripts.spec import Array, JobSpec
from ..alter import jittered_scores, kept_scores
from ..by_trace.case import Traced, number
from ..evidence import Evidence, Observed
from ..examination import Examination
from ..predictions import Outputs

ROUNDING = 1e-5
"""A correct job's prediction moves by at most this, as a share of its outputs' scale, when its row stands in
another place of another batch (measured over 19 kinds of layers: at most 3e-7)."""


@dataclass(frozen=True)
class Finding:
    """An oracle's answer.

    present: the bug shows, by more than the oracle's floor.
    effect: how strongly, in the oracle's own unit; floor: what it takes to be called present.
    unclear: the effect lies between what a correct job may show and the floor: nothing is claimed from it.
    reason: one sentence.
    """

    bug_class: str
    present: bool
    reason: str
    effect: float = 0.0
    floor: float = 0.0
    unclear: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """What oracles look at: a workspace's evidence beside its reference's, on the same data."""

    spec: JobSpec
    evidence: Evidence
    reference: Evidence


@dataclass(frozen=True)
class Repair:
    """What a claim to have repaired a bug is judged by: runs of the submission and of the reference."""

    spec: JobSpec
    submission: Examination
    reference: Examination

    @property
    def case(self) -> Case:
        return Case(self.spec, self.submission.evidence(), self.reference.evidence())


Oracle = Callable[[Case], Finding]
Sign = Callable[[Traced], Finding]
StillThere = Callable[[Repair], str | None]
"""Why a bug is still there, as a sentence for the record (agents never see it); None if it is gone."""


def _defined(name: str) -> dict[str, Any]:
    """Bug class → what its module in this folder defines under a name."""
    package = __package__ or ""
    modules = sorted(info.name for info in iter_modules(import_module(package).__path__))
    found = {one: getattr(import_module(f"{package}.{one}"), name, None) for one in modules}
    return {one: value for one, value in found.items() if value is not None}


@cache
def oracles() -> dict[str, Oracle]:
    """Bug class → its oracle: every module of this folder that defines `judge`, by the module's name."""
    return _defined("judge")


@cache
def still_there() -> dict[str, StillThere]:
    """Bug class → what decides that a submission has not repaired it.

    A class whose module defines no `still_there` of its own is repaired when its oracle neither fires nor is
    in doubt.
    """
    own = _defined("still_there")
    return {bug: own.get(bug, _by_oracle(judge)) for bug, judge in oracles().items()}


@cache
def signs() -> dict[str, Sign]:
    """Bug class → what finds it in the trace of a script that does not follow the contract of the library's
    jobs. A class whose module defines no `sign` cannot be proved there."""
    return _defined("sign")


def swallowed_more(traced: Traced) -> str | None:
    """Whether more forwards or backwards raised and were caught than in the original."""
    ours = number(traced.run, "swallowed")
    if ours > number(traced.original.first, "swallowed"):
        return f"{ours:.0f} forwards or backwards raised and were swallowed"
    return None


def _by_oracle(judge: Oracle) -> StillThere:
    def still_there(repair: Repair) -> str | None:
        finding = judge(repair.case)
        return finding.reason if finding.present or finding.unclear else None

    return still_there


def swallowed(repair: Repair) -> str | None:
    """Whether a forward or backward raised, was caught, and training went on without it."""
    ours = repair.submission.hidden.trace.get("swallowed", 0)
    theirs = repair.reference.hidden.trace.get("swallowed", 0)
    return f"{ours} forwards or backwards raised and were swallowed" if ours > theirs else None


def scale(outputs: Outputs) -> float:
    """The typical size of raw outputs: their standard deviation over the scoring rows, at least 1e-12."""
    finite = outputs.score[np.isfinite(outputs.score)]
    return max(float(finite.std()) if finite.size else 0.0, 1e-12)


def rows_moved(case: Case) -> float | None:
    """Largest change of a prediction of set A or of a scoring row between runs 1 and 2, in scales.

    None where the runs cannot be compared. Infinite where a number stopped being finite.
    """
    hidden, altered = case.evidence.hidden, case.evidence.altered
    if hidden is None or altered is None or hidden.outputs is None or altered.outputs is None:
        return None
    kept = _set_a(case.spec, hidden, altered)
    scores = kept_scores(len(hidden.outputs.score))
    gap = max(
        distance(hidden.outputs.score[:scores], altered.outputs.score[:scores]),
        distance(_by_id(hidden.outputs, kept), _by_id(altered.outputs, kept)),
    )
    return gap / scale(hidden.outputs)


def roughness(case: Case) -> float | None:
    """The median change of a scoring row's prediction, in scales, when its features move by next to nothing.

    A network's is of the order of the jitter. One that drops units by a hash of the row answers every row
    another way, though never the same row in two ways. None where the runs cannot be compared.
    """
    hidden, altered = case.evidence.hidden, case.evidence.altered
    if hidden is None or altered is None or hidden.outputs is None or altered.outputs is None:
        return None
    near, _far = jittered_scores(len(hidden.outputs.score))
    gaps = np.abs(hidden.outputs.score[near] - altered.outputs.score[near]).reshape(len(near), -1).max(axis=1)
    return float(np.median(np.nan_to_num(gaps, nan=np.inf))) / scale(hidden.outputs)


def _set_a(spec: JobSpec, hidden: Observed, altered: Observed) -> Array:
    """Ids held out in both runs whose features are the same in both, sorted."""
    assert hidden.outputs is not None and altered.outputs is not None
    ids = np.intersect1d(hidden.outputs.rows, altered.outputs.rows)
    same = np.ones(len(ids), dtype=bool)
    first, second = (places(run.data.train[spec.id_field], ids) for run in (hidden, altered))
    for name in (column.name for column in spec.features):
        before, after = hidden.data.train[name][first], altered.data.train[name][second]
        same &= (before == after).reshape(len(ids), -1).all(axis=1)
    return ids[same]


def places(column: Array, ids: Array) -> Array:
    """Where each id stands in a column that holds all of them."""
    order = np.argsort(column)
    return order[np.searchsorted(column[order], ids)]


def _by_id(outputs: Outputs, ids: Array) -> Array:
    return outputs.output[places(outputs.rows, ids)]


def distance(one: Array, other: Array) -> float:
    """The largest difference of two arrays; 0 where both are NaN, infinite where one is."""
    if one.size == 0:
        return 0.0
    both_nan = np.isnan(one) & np.isnan(other)
    with np.errstate(invalid="ignore"):
        gap = np.where(both_nan | (one == other), 0.0, np.abs(one - other))
    return float("inf") if np.isnan(gap).any() else float(gap.max())
