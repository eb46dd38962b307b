"""Making a release: every task executed, written down as it comes, and all of it put in place at once."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...factory import Exhausted, Request, Variant, outcomes
from ...output.ledger import Lines
from ...output.progress import Progress
from ...output.release_rows import SOLUTIONS
from ...output.whole_file import put_whole
from ...task_folder import SCHEMA, canonical_json
from ...versions import made_by, run_by
from .card import sections
from .difficulty import Outcomes
from .layout import CHANGELOG, MANIFEST, Content, commitment, json_line, sha256
from .plan import Plan, Selection, Slot
from .rows import Row, form_of, measured, solution_row, task_row, validation_row

PARTIAL = ".partial-"
MARK = "request.json"
JOURNAL = "made.jsonl"
READY = "release"


@dataclass(frozen=True)
class Frozen:
    """A release that is in place. unknown: withdrawn ids that no request of its plan gives."""

    folder: Path
    content: Content
    root: str
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Secret:
    """The part that stays secret: what it is asked to be, and the folder for it."""

    plan: Plan
    folder: Path


class Workshop:
    """Where a release is made: `.partial-NAME` beside its folder, with a line for each request that is done.
    One process at a time.

    Args:
        resume: go on with what is there; otherwise nothing may be there.

    Raises:
        UsageError: the release is there already, something else was begun, or nothing that could be resumed.
    """

    def __init__(self, folder: Path, plan: Plan, *, resume: bool) -> None:
        self.folder = folder
        self.partial = folder.parent / f"{PARTIAL}{folder.name}"
        mark = self.partial / MARK
        if folder.exists():
            raise UsageError(
                f"{folder}: is there already, and a release is never changed; freeze under another version"
            )
        if resume and not mark.is_file():
            raise UsageError(f"--resume: nothing was begun for {folder}; run without --resume")
        if not resume and mark.is_file():
            raise UsageError(
                f"{self.partial}: holds what an earlier run began; go on with --resume, or remove it"
            )
        try:
            self.plan = _begun(mark, plan) if resume else plan
            self.partial.mkdir(parents=True, exist_ok=True)
            if not resume:
                put_whole(mark, _mark(plan))
            self.journal = Lines(self.partial / JOURNAL)
            self.journal.create()
            self.journal.mend()
        except OSError as error:
            raise UsageError(
                f"{self.partial}: cannot write there ({error.strerror or error}); "
                "name a folder inside one you may write to"
            ) from None

    def close(self) -> None:
        self.journal.close()

    def publish(self, content: Content) -> str:
        """Put the release in place, whole; its root hash."""
        ready = self.partial / READY
        shutil.rmtree(ready, ignore_errors=True)
        files = content.files()
        for name, text in files.items():
            place = ready / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text)
        ready.rename(self.folder)
        self.close()
        shutil.rmtree(self.partial)
        return str(json.loads(files[MANIFEST])["root"])


def _mark(plan: Plan) -> bytes:
    record = {"schema": SCHEMA, "plan": plan.record(), "versions": made_by() | run_by()}
    return canonical_json(record).encode()


def _begun(mark: Path, plan: Plan) -> Plan:
    """The plan that was begun: the one asked for, but for the date of the first day.

    Raises:
        UsageError: it is another plan, or other versions began it.
    """
    found = mark.read_bytes()
    try:
        plan = replace(plan, date=str(json.loads(found)["plan"]["date"]))
    except (ValueError, KeyError, TypeError):
        found = b""
    if found != _mark(plan):
        raise UsageError(
            f"--resume: {mark} was written for another plan or by other versions; ask for the same, "
            "or remove "
            f"{mark.parent} and begin anew"
        )
    return plan


def freeze(
    plan: Plan,
    folder: Path,
    line: Progress,
    *,
    secret: Secret | None = None,
    agents: Outcomes | None = None,
    previous: Path | None = None,
    jobs: int = 1,
    resume: bool = False,
    require: str | None = None,
) -> Frozen:
    """Make a release, and its secret part if there is to be one.

    agents: how agents fared on its tasks, for the levels. previous: the release before, for the changelog.
    line: is advanced by each task of both parts.

    Raises:
        UsageError: see `Workshop`; or `agents` knows none of the tasks, or `previous` is no release.
        MldebugError: a set of classes gives too few tasks.
    """
    older = "" if previous is None else _older(previous)
    agents = agents or {}
    with ExitStack() as stack:
        shop = Workshop(folder, plan, resume=resume)
        stack.callback(shop.close)
        content = gather(shop, line, agents=agents, older=older, jobs=jobs, require=require)
        forms = {str(row["form"]): str(row["id"]) for row in content.solutions}
        if agents and not any(row["agents"] for row in content.validations):
            raise UsageError(
                "--outcomes: names none of the tasks of this release; results of this very plan are needed "
                f"(what was made is kept in {shop.partial}: go on with --resume)"
            )
        if secret is not None:
            kept = _secret_part(secret, shop, forms, line, jobs=jobs, resume=resume, require=require)
            content = replace(content, private=kept)
        seen = {row.get("withdrawn") for row in content.skipped}
        unknown = tuple(id for id in shop.plan.withdrawn if id not in seen)
        return Frozen(folder, content, shop.publish(content), unknown)


def _older(previous: Path) -> str:
    try:
        return sections((previous / CHANGELOG).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--previous {previous}: its {CHANGELOG} cannot be read ({error})") from None


def _secret_part(
    secret: Secret,
    public: Workshop,
    forms: Mapping[str, str],
    line: Progress,
    *,
    jobs: int,
    resume: bool,
    require: str | None,
) -> dict[str, Any]:
    """Make the secret part, put it in place, and give the commitment to it."""
    plan = replace(secret.plan, date=public.plan.date)
    if resume and secret.folder.exists():  # an earlier run came so far
        try:
            found = json.loads((secret.folder / MANIFEST).read_bytes())
            solutions = (secret.folder / SOLUTIONS).read_bytes()
            if canonical_json(found["plan"]) != canonical_json(plan.record()):
                raise ValueError("it was made of another plan or secret")
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"--private {secret.folder}: is not what this command left there ({error})"
            ) from None
        return {
            "release": plan.release,
            "tasks": solutions.count(b"\n"),
            "solutions_sha256": sha256(solutions),
        }
    begun = (secret.folder.parent / f"{PARTIAL}{secret.folder.name}" / MARK).is_file()
    shop = Workshop(secret.folder, plan, resume=resume and begun)
    try:
        content = gather(shop, line, agents={}, older="", jobs=jobs, require=require, taken=forms)
        kept = commitment(content)
        shop.publish(content)
    finally:
        shop.close()
    return kept


def gather(
    shop: Workshop,
    line: Progress,
    *,
    agents: Outcomes,
    older: str,
    jobs: int,
    require: str | None,
    taken: Mapping[str, str] | None = None,
) -> Content:
    """The rows of a plan: what the journal has, and the rest made now and added to it.

    taken: normal form → id of tasks elsewhere that this part may not repeat.
    """
    plan = shop.plan
    before = deque(record for _number, _text, record in shop.journal)
    chosen = Choice(plan, dict(taken or {}))
    while slots := chosen.selection.round():
        made = min(len(before), len(slots))
        for slot in slots[:made]:
            record = before.popleft()
            if (record.get("bugs"), record.get("index")) != (list(slot.bugs), slot.index):
                raise UsageError(
                    f"{shop.journal.path}: a line is not the one that has to follow; somebody changed it: "
                    f"remove {shop.partial} and begin anew"
                )
            if chosen.take(slot, record):
                line.keep()
        if made == len(slots):
            continue
        requests = (Request(slot.bugs, plan.seed, slot.index) for slot in slots[made:])
        with closing(outcomes(requests, jobs=jobs, require=require)) as results:
            for slot, one in zip(slots[made:], results, strict=True):
                record = journal_record(slot, one, plan)
                shop.journal.append(json_line(record))
                if chosen.take(slot, record):
                    line.advance()
                elif isinstance(one, Exhausted):
                    line.say(
                        f"{', '.join(slot.bugs)}, index {slot.index}: no valid variant, the next is tried"
                    )
    return chosen.content(agents, older)


def journal_record(slot: Slot, one: Variant | Exhausted, plan: Plan) -> Row:
    """What came of a request, as the journal keeps it."""
    record: Row = {"bugs": list(slot.bugs), "index": slot.index}
    if isinstance(one, Exhausted):
        return record | {"reasons": dict(one.reasons)}
    form = form_of(one)
    return record | {
        "task": task_row(one, form, plan),
        "solution": solution_row(one, form, plan),
        "measured": measured(one),
    }


class Choice:
    """Which of the results of requests are the release's: pure, the same whenever they are given in order."""

    def __init__(self, plan: Plan, forms: dict[str, str]) -> None:
        self.plan, self.selection = plan, Selection(plan)
        self._forms = forms
        self._taken: list[Row] = []
        self._skipped: list[Row] = []

    def take(self, slot: Slot, record: Row) -> bool:
        """Whether the result of a request becomes a task of the release."""
        skipped: Row = {"bugs": list(slot.bugs), "index": slot.index}
        if "reasons" in record:
            self._skipped.append(skipped | {"reasons": record["reasons"]})
            return False
        id, form = str(record["task"]["id"]), str(record["solution"]["form"])
        if id in self.plan.withdrawn:
            self._skipped.append(skipped | {"withdrawn": id})
            return False
        if self._forms.setdefault(form, id) != id:
            self._skipped.append(skipped | {"same_form_as": self._forms[form]})
            return False
        self._taken.append(record)
        self.selection.took(slot)
        return True

    def content(self, agents: Outcomes, older: str) -> Content:
        plan = self.plan
        return Content(
            plan,
            [one["task"] for one in self._taken],
            [one["solution"] for one in self._taken],
            [
                validation_row(one["task"]["id"], one["measured"], agents.get(one["task"]["id"], {}), plan)
                for one in self._taken
            ],
            self._skipped,
            made_by() | run_by(),
            older=older,
        )
