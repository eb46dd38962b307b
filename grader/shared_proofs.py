"""Proofs that variants of one run share: those of the same program on the same data."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass

from ..mutators.normal_form import normal_form, own_names
from ..mutators.workspace import Workspace
from ..seeds import digest
from .validate import Candidate, Validation

KEPT = 4096
"""Proofs that are remembered, the last ones; some kilobytes of numbers and sources each."""


@dataclass(frozen=True)
class SharedProof:
    """A proof that was made in this run. id: the variant that was executed. alert: what its run bears out."""

    id: str
    validation: Validation
    alert: str
    workspaces: tuple[Workspace, ...]


class SharedProofs:
    """Candidates that differ in names, comments and layout alone behave the same, to the bit: where one was
    proved in this run, on the same data and device, the next need not be. Threads may use it at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._proofs: OrderedDict[bytes, SharedProof] = OrderedDict()

    def find(self, candidate: Candidate) -> SharedProof | None:
        """The proof of a candidate that is the same program. Sources are compared only on the same data."""
        with self._lock:
            found = self._proofs.get(_circumstances(candidate))
        if found is None:
            return None
        ours = _workspaces(candidate)
        if len(ours) != len(found.workspaces):
            return None
        same = all(
            normal_form(one) == normal_form(other) for one, other in zip(ours, found.workspaces, strict=True)
        )
        return found if same else None

    def add(self, id: str, candidate: Candidate, validation: Validation, alert: str) -> None:
        """Remember a proof, unless what it rests on or records may depend on how things are called or laid
        out: names in an exception, or the line where one was raised."""
        crashed = validation.broken is not None and validation.broken.exception is not None
        if not validation.ok or crashed or _speaks_of_names(candidate, validation):
            return
        proof = SharedProof(id, validation.slim(), alert, _workspaces(candidate))
        with self._lock:
            self._proofs[_circumstances(candidate)] = proof
            while len(self._proofs) > KEPT:
                self._proofs.popitem(last=False)


def _circumstances(candidate: Candidate) -> bytes:
    seeds = candidate.visible_seed, candidate.hidden_seed
    return digest(candidate.spec.name, candidate.device, *seeds, tuple(sorted(candidate.alone)))


def _workspaces(candidate: Candidate) -> tuple[Workspace, ...]:
    return (candidate.reference, candidate.broken, *(one for _bug, one in sorted(candidate.alone.items())))


_QUOTED = re.compile(r"\b\w+(?:Error|Exception|Warning): .*", re.DOTALL)
"""How a finding quotes an exception."""


def _speaks_of_names(candidate: Candidate, validation: Validation) -> bool:
    """Whether an exception that the proof rests on has a word in it that is a name of the workspace's own."""
    said = [text for one in validation.findings.values() for text in _QUOTED.findall(one.reason)]
    words = {word for text in said for word in re.findall(r"\w+", text)}
    return bool(words & own_names(candidate.broken))
