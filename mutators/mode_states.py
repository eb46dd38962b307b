"""What the walk over modes reads and notes: a change of the script, models and their modes, forward calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import libcst as cst

from .modes import Mode


@dataclass(frozen=True)
class Change:
    """What an injection does to the walk.

    skip: calls of `eval` or `train` that are no longer made.
    becomes: such calls that set another mode.
    after: after each of these statements, the model that a switching call switched gets a mode.
    """

    skip: frozenset[cst.Call] = frozenset()
    becomes: Mapping[cst.Call, Mode] = field(default_factory=dict)
    after: Mapping[cst.CSTNode, tuple[cst.Call, Mode]] = field(default_factory=dict)


NONE = Change()


@dataclass(frozen=True)
class Forward:
    """One call of a model, in the order of execution; `switch` is the call that put it into its mode."""

    call: cst.Call
    mode: Mode
    noisy: bool
    switch: cst.Call | None


@dataclass
class Model:
    noisy: bool
    mode: Mode = "train"
    switch: cst.Call | None = None
    owner: cst.ClassDef | None = None


@dataclass
class Instance:
    """An instance of a class of the workspace that is no module; its attributes are names `self.x`."""

    owner: cst.ClassDef
    names: dict[str, object]
