"""What a release is asked to be: all that its tasks follow from. And which requests that comes to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Literal

from ...clean_scripts.library import job_names
from ...errors import MldebugError, UsageError
from ...factory import can_host, check_numbers
from ...mutators.base import bug_classes, canonical_bugs
from ...seeds import Draw, digest

Split = Literal["train", "validation", "test", "test_new_scripts", "private"]

PUBLIC: tuple[Split, ...] = ("train", "validation", "test", "test_new_scripts")

SHARES: tuple[tuple[Split, int], ...] = (("train", 60), ("validation", 15), ("test", 25))
"""In percent, of the tasks on scripts that train uses."""

ONE_IN = 4
"""Of so many scripts, one is kept for the part `test_new_scripts`; of fewer, one too."""

MOST_TRIED = 4
"""Times as many indices as tasks are asked for are tried for a set of classes before giving up on it."""

LEAST_SECRET = 32
"""Characters of a secret, hexadecimal ones say: what is shorter could be found by trying, since anybody can
make the tasks of a seed and compare them with the commitment."""

NAME = re.compile(r"v\d+(\.\d+){1,2}(-[a-z0-9.]+)?")

PRIVATE = "-private"


@dataclass(frozen=True)
class Plan:
    """A release, asked for.

    release: its name, e.g. `v0.1`. sets: sets of classes, each canonical; tasks are shared out evenly.
    scripts: all jobs of the library when it was frozen; held_out: those that only `test_new_scripts` uses.
    date: of the freeze, YYYY-MM-DD. notes: what the changelog says. withdrawn: ids left out of it.
    private: the whole release is the part that stays secret.
    """

    release: str
    seed: int
    count: int
    sets: tuple[tuple[str, ...], ...]
    scripts: tuple[str, ...]
    held_out: tuple[str, ...]
    date: str
    notes: str = ""
    withdrawn: tuple[str, ...] = ()
    private: bool = False

    @classmethod
    def of(
        cls,
        release: str,
        seed: int,
        count: int,
        date: str,
        *,
        bugs: Sequence[str] = (),
        held_out: str | None = None,
        notes: str = "",
        withdrawn: Sequence[str] = (),
    ) -> Plan:
        """A checked plan. bugs: sets of classes by any of their names; none: all atomic classes and all pairs
        that a script can host. held_out: names of scripts with commas between; None: the seed draws them.

        Raises:
            UsageError: a bad name, number, class or script, or fewer tasks than sets of classes.
        """
        if not NAME.fullmatch(release):
            raise UsageError(
                f"{release!r}: a release is a folder named for its version, e.g. v1.0 or v1.2.1-preview"
            )
        check_numbers(seed, 0)
        if bugs:
            sets = [canonical_bugs(one) for one in bugs]
        else:
            classes = bug_classes()
            every = [(one,) for one in classes] + [tuple(sorted(one)) for one in combinations(classes, 2)]
            sets = [one for one in every if can_host(one)]
        if len(set(sets)) != len(sets):
            raise UsageError("--bugs: a set of classes is named twice")
        if impossible := next((one for one in sets if not can_host(one)), None):
            raise UsageError(
                f"--bugs {','.join(impossible)}: no script of the library can host them together"
            )
        if count < len(sets):
            raise UsageError(
                f"--count {count}: there are {len(sets)} sets of classes, and each needs a task; "
                "ask for more tasks, or name fewer sets with --bugs"
            )
        return cls(
            release, seed, count, tuple(sets), job_names(), _held_out(seed, held_out), date, notes,
            tuple(sorted(withdrawn)),
        )  # fmt: skip

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Plan:
        """The plan of a manifest.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        values = dict(record)
        values["sets"] = tuple(tuple(str(bug) for bug in one) for one in values["sets"])
        for name in ("scripts", "held_out", "withdrawn"):
            values[name] = tuple(str(one) for one in values[name])
        plan = cls(**values)
        check_numbers(plan.seed, plan.count)
        if not 0 < len(plan.sets) <= plan.count:
            raise ValueError(f"{plan.count} tasks of {len(plan.sets)} sets of classes")
        return plan

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    def secret_part(self, secret: str, count: int) -> Plan:
        """The plan of the part that stays secret.

        Raises:
            UsageError: the secret is too short, or there are fewer tasks than sets of classes.
        """
        if len(secret) < LEAST_SECRET:
            raise UsageError(
                f"MLDEBUG_PRIVATE_SEED: has {len(secret)} characters, and needs {LEAST_SECRET}, or "
                "others can "
                "find it by trying; `python -c 'import secrets; print(secrets.token_hex(32))'` "
                "prints a good one"
            )
        if count < len(self.sets):
            raise UsageError(f"--private-count {count}: there are {len(self.sets)} sets of classes")
        seed = (
            int.from_bytes(digest("private part", secret)[:8], "big") >> 2
        )  # other JSON readers have 64 bits
        return replace(
            self, release=self.release + PRIVATE, seed=seed, count=count, notes="", withdrawn=(), private=True
        )

    @property
    def splits(self) -> tuple[Split, ...]:
        return ("private",) if self.private else PUBLIC

    @property
    def canary(self) -> str:
        """A text of this release's own, that is nowhere else: who finds it in training data knows."""
        hexed = digest("canary", self.release, self.seed, self.count, self.date).hex()
        guid = "-".join((hexed[:8], hexed[8:12], hexed[12:16], hexed[16:20], hexed[20:32]))
        return f"mldebug {self.release} benchmark data, must not be trained on; canary GUID {guid}"

    def split(self, script: str, form: str) -> Split:
        """Where a task belongs: by its script, else by the hash of its normal form alone, so that the same
        program is in the same split of every release."""
        if self.private:
            return "private"
        if script in self.held_out:
            return "test_new_scripts"
        place = Draw("split", form).below(sum(share for _split, share in SHARES))
        for split, share in SHARES:
            if place < share:
                return split
            place -= share
        raise AssertionError("a place beyond all shares")


def _held_out(seed: int, named: str | None) -> tuple[str, ...]:
    names = job_names()
    if named is None:
        return tuple(
            sorted(Draw("held out", seed).shuffled(names, "scripts")[: max(1, len(names) // ONE_IN)])
        )
    found = tuple(sorted({one.strip() for one in named.split(",") if one.strip()}))
    for one in found:
        if one not in names:
            raise UsageError(f"--held-out {one}: is no script; choose from: {', '.join(names)}")
    if not found or len(found) == len(names):
        raise UsageError("--held-out: name some scripts, and leave some for training")
    return found


@dataclass(frozen=True)
class Slot:
    """One request of a plan."""

    bugs: tuple[str, ...]
    index: int


class Selection:
    """Which requests a plan comes to. They are asked for in rounds: what a round leaves short, because an
    index gave nothing or a program that is there already, the next one asks for with further indices. So
    the tasks do not depend on how many are made at a time."""

    def __init__(self, plan: Plan) -> None:
        share, more = divmod(plan.count, len(plan.sets))
        self._quota = {one: share + (number < more) for number, one in enumerate(plan.sets)}
        self._need = dict(self._quota)
        self._next = dict.fromkeys(plan.sets, 0)

    def round(self) -> list[Slot]:
        """The next requests, in order; none when the plan is complete.

        Raises:
            MldebugError: a set of classes has used up its indices.
        """
        slots = []
        for turn in range(max(self._need.values())):
            for one, need in self._need.items():
                if turn < need:
                    slots.append(Slot(one, self._next[one] + turn))
        for one, need in self._need.items():
            self._next[one] += need
            if self._next[one] > MOST_TRIED * self._quota[one] + MOST_TRIED:
                raise MldebugError(
                    f"{', '.join(one)}: {self._quota[one] - need} of {self._quota[one]} tasks came of "
                    f"{self._next[one] - need} indices; ask for fewer tasks, or for other sets with --bugs"
                )
        return slots

    def took(self, slot: Slot) -> None:
        """The task of a request is in the release."""
        self._need[slot.bugs] -= 1
