"""Whether a release is as it was frozen: its bytes, what makes them, and what comes of executing it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...executors.local import in_order
from ...factory import Draft
from ...grader.alert import alert_text
from ...grader.runner import Pool
from ...grader.validate import Validation, validate
from ...output.progress import progress
from ...output.release_rows import SOLUTIONS
from ...seeds import ENGINES, Draw
from ...task_folder import SCHEMA, canonical_json
from ...versions import made_by, run_by
from .card import changelog
from .compare import Deviations, differing_fields, differing_lines
from .difficulty import difficulty
from .layout import (
    CHANGELOG,
    MANIFEST,
    README,
    SUMS,
    TOLERANCES,
    VALIDATION,
    Content,
    hashed,
    root_of,
    sha256,
    tasks_file,
)
from .plan import NAME, Plan
from .regenerate import CannotRegenerateError, check_complete, redraw, rows_again
from .rows import Row, measured


@dataclass(frozen=True)
class Problem:
    """where: the file or the task. what: one sentence."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Report:
    """What was looked at, and what was found.

    files: of the release. regenerated: tasks made again, byte for byte. executed: tasks executed again.
    repeated: those of them whose outcome is the one in the release. notes: no problems, but to be known.
    seconds: of everything; tasks_per_second: of what was executed.
    """

    release: str = ""
    root: str = ""
    tasks: int = 0
    files: int = 0
    regenerated: int = 0
    executed: int = 0
    repeated: int = 0
    seconds: float = 0.0
    tasks_per_second: float | None = None
    deviations: Deviations = field(default_factory=Deviations)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    def record(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "ok": not self.problems, "tolerances": TOLERANCES}


@dataclass
class _Folder:
    """The files of a release as they are. broken: those that are not as the manifest says."""

    path: Path
    manifest: dict[str, Any]
    files: dict[str, bytes]
    broken: set[str] = field(default_factory=set)


def verify(
    folder: Path,
    *,
    sample: int | None = None,
    sample_seed: int = 0,
    secret: Path | None = None,
    root: str | None = None,
    jobs: int = 1,
    require: str | None = None,
) -> Report:
    """Check a release.

    sample: how many tasks are executed, drawn by `sample_seed`; None for all, 0 for none. secret: the folder
    of its secret part, if that was shown. root: the root hash that was published.

    Raises:
        UsageError: there is no such folder.
    """
    started = time.monotonic()
    report = Report()
    found = read_release(folder, report)
    if found is not None:
        if root is not None and report.root != root.lower():
            report.add(MANIFEST, f"its root hash is {report.root}, not the one published, {root}")
        content = _content(found, report)
        if content is not None:
            _check_rows(found, content, report)
            if secret is not None:
                _check_secret(content, secret, report)
            chosen = _sample(content, sample, sample_seed, report.root)
            _execute(chosen, report, jobs, require)
    report.seconds = round(time.monotonic() - started, 3)
    return report


# -- files ---------------------------------------------------------------------------------------------------


def read_release(folder: Path, report: Report) -> _Folder | None:
    """Read all files and compare their hashes; None where the manifest cannot be used.

    Raises:
        UsageError: there is no such folder, or it holds no release.
    """
    if not (folder / MANIFEST).exists() and not (folder / SUMS).exists():
        raise UsageError(
            f"{folder}: is no release (it has neither {MANIFEST} nor {SUMS}); "
            "name a folder that `mldebug bench freeze` made"
        )
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    report.files = len(files)
    in_sums = _read_sums(files, report)
    manifest = _read_manifest(files, report)
    listed = {} if manifest is None else {name: one["sha256"] for name, one in manifest["files"].items()}
    broken = set()
    for name in sorted((listed.keys() | in_sums.keys() | files.keys()) - {SUMS}):
        known = {one for one in (listed.get(name), in_sums.get(name)) if one}
        if not known:
            if name != MANIFEST:
                report.add(name, "is no part of the release")
        elif name not in files:
            report.add(name, "is missing")
            broken.add(name)
        elif (actual := sha256(files[name])) not in known:
            report.add(
                name, f"was changed: its SHA-256 is {actual[:16]}…, {next(iter(known))[:16]}… was frozen"
            )
            broken.add(name)
        elif in_sums and in_sums.get(name) != actual:
            report.add(SUMS, f"its line for {name} was changed, or is missing")
        elif manifest is not None and name != MANIFEST and listed.get(name) != actual:
            report.add(MANIFEST, f"its hash of {name} was changed, or is missing")
    if manifest is None:
        return None
    if MANIFEST not in broken and manifest["root"] != root_of(manifest):
        report.add(MANIFEST, f"its root hash is not that of its content, {root_of(manifest)}")
    report.root, report.release = str(manifest["root"]), str(manifest["release"])
    return _Folder(folder, manifest, files, broken)


def _read_sums(files: Mapping[str, bytes], report: Report) -> dict[str, str]:
    if SUMS not in files:
        report.add(SUMS, "is missing")
        return {}
    found = {}
    for number, line in enumerate(files[SUMS].decode("utf-8", "replace").split("\n")[:-1], 1):
        digest, gap, name = line.partition("  ")
        if not gap or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            report.add(SUMS, f"line {number}: is not a SHA-256, two blanks and a name")
        else:
            found[name] = digest
    if not files[SUMS].endswith(b"\n"):
        report.add(SUMS, "its last line has no end")
    return found


def _read_manifest(files: Mapping[str, bytes], report: Report) -> dict[str, Any] | None:
    if MANIFEST not in files:
        report.add(MANIFEST, "is missing")
        return None
    try:
        manifest = json.loads(files[MANIFEST])
        if manifest["schema"] != SCHEMA:
            report.add(MANIFEST, f"has schema {manifest['schema']}, this version reads {SCHEMA}")
            return None
        for name in ("release", "root", "canary"):
            if not isinstance(manifest[name], str):
                raise TypeError(f"{name} is no text")
        for one in manifest["files"].values():
            str.encode(one["sha256"])
        if canonical_json(manifest).encode() != files[MANIFEST]:
            report.add(MANIFEST, "is not written as it was frozen (sorted keys, two spaces)")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        report.add(MANIFEST, f"cannot be read ({type(error).__name__}: {error})")
        return None
    return dict(manifest)


# -- what makes them -----------------------------------------------------------------------------------------


def _content(found: _Folder, report: Report) -> Content | None:
    """The rows, as they are; None where they cannot be made again by this version."""
    manifest = found.manifest
    try:
        plan = Plan.read(manifest["plan"])
        versions = {str(name): str(one) for name, one in manifest["versions"].items()}
        skipped = list(manifest["skipped"])
        for row in skipped:
            tuple(row["bugs"]), int(row["index"]), sum(row.get("reasons", {}).values())
        private = None if manifest["private"] is None else dict(manifest["private"])
        if private:
            str.encode(private["release"] + private["solutions_sha256"]), int(private["tasks"])
    except (UsageError, KeyError, TypeError, ValueError, AttributeError) as error:
        report.add(
            MANIFEST, f"its plan, or what was skipped, cannot be read ({type(error).__name__}: {error})"
        )
        return None
    _check_names(found.path, manifest, plan, report)
    if versions.get("engine") not in ENGINES:
        report.add(
            MANIFEST,
            f"stale version: made by engine {versions.get('engine')} (mldebug "
            f"{versions.get('mldebug')}), this version makes those of {', '.join(ENGINES)}; verify with the "
            "version that made it. Nothing was made again, nothing executed",
        )
        return None
    report.notes += [
        f"made with {name} {versions.get(name)}, here it is {here}: figures may round otherwise"
        for name, here in (made_by() | run_by()).items()
        if name != "engine" and versions.get(name) != here
    ]
    return Content(
        plan,
        [row for split in plan.splits for row in _rows(found, tasks_file(split), report)],
        list(_rows(found, SOLUTIONS, report)),
        list(_rows(found, VALIDATION, report)),
        skipped,
        versions,
        private,
    )


def _check_names(folder: Path, manifest: Mapping[str, Any], plan: Plan, report: Report) -> None:
    name = folder.resolve().name
    if NAME.fullmatch(name) and name != manifest["release"]:
        report.add(MANIFEST, f"is of release {manifest['release']}, and lies in a folder named {name}")
    if plan.release != manifest["release"]:
        report.add(MANIFEST, f"is of release {manifest['release']}, and its plan of {plan.release}")


def _rows(found: _Folder, name: str, report: Report) -> Iterator[Row]:
    for number, line in enumerate(found.files.get(name, b"").splitlines(), 1):
        try:
            row = json.loads(line)
            str.encode(row["id"])
            yield row
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            found.broken.add(name)
            report.add(name, f"line {number}: is no row of a release ({type(error).__name__}: {error})")


def _check_rows(found: _Folder, content: Content, report: Report) -> None:
    """Make tasks and solutions again, and all that follows from them, and compare bytes."""
    plan = content.plan
    report.tasks = len(content.solutions)
    alerts = {row["id"]: row.get("alert") for row in (*content.tasks, *content.validations)}
    tasks: list[Row] = []
    solutions: list[Row] = []
    with progress(len(content.solutions), "making again") as line:
        for solution in content.solutions:
            try:
                task, made = rows_again(solution, str(alerts.get(solution["id"])), plan)
                tasks.append(task)
                solutions.append(made)
            except CannotRegenerateError as error:
                report.add(SOLUTIONS, f"task {solution['id']} {error}")
            line.advance()
    again = replace(content, tasks=tasks, solutions=solutions)
    before = len(report.problems)
    if len(solutions) == len(content.solutions):
        expected = again.row_files()
        for name in (*(tasks_file(split) for split in plan.splits), SOLUTIONS):
            if name in found.files:
                for what in differing_lines(found.files[name], expected[name]):
                    report.add(name, what)
    report.regenerated = len(_by_id(tasks, content.tasks) & _by_id(solutions, content.solutions))
    _check_validations(content, report)
    if found.broken or len(report.problems) > before:
        report.notes.append(
            "what follows from the rows (data card, manifest) was not made again: rows differ"
        )
        return
    if why := check_complete(content):
        report.add(MANIFEST, why)
    _check_derived(found, again, report)


def _by_id(rows: list[Row], theirs: Sequence[Row]) -> set[str]:
    """Ids of the rows that are the same in both."""
    known = {row["id"]: row for row in theirs}
    return {row["id"] for row in rows if known.get(row["id"]) == row}


def _check_validations(content: Content, report: Report) -> None:
    """That every task was executed, and its level follows from what was measured."""
    known = {row["id"] for row in content.solutions}
    measured_ids = [row["id"] for row in content.validations]
    for id in sorted(known ^ set(measured_ids)):
        report.add(VALIDATION, f"task {id} has a {'solution' if id in known else 'row here'} only")
    if len(set(measured_ids)) != len(measured_ids):
        report.add(VALIDATION, "a task has two rows")
    for row in content.validations:
        try:
            level = difficulty(row["traits"], row["agents"])
            "".join(row["discarded"])
            if level != row["level"]:
                report.add(VALIDATION, f"task {row['id']}: its level is {row['level']}, and {level} follows")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            report.add(VALIDATION, f"task {row['id']}: is not whole ({type(error).__name__}: {error})")


def _check_derived(found: _Folder, content: Content, report: Report) -> None:
    """Data card, changelog and manifest, from rows that are as they should be."""
    head = changelog(content).encode()
    log = found.files.get(CHANGELOG, b"")
    if not log.startswith(head):
        report.add(CHANGELOG, "does not begin with what its release says of itself")
        return
    files = replace(content, older=log[len(head) :].decode("utf-8", "replace")).files()
    if found.files.get(README) != files[README]:
        report.add(README, "is not the data card that follows from the rows")
    expected = json.loads(files[MANIFEST])
    listed = found.manifest["files"].get(VALIDATION)
    if (
        hashed(found.files.get(VALIDATION, b"")) == listed
    ):  # what was measured is not made again: its rows are compared
        expected["files"][VALIDATION] = listed
        expected["root"] = root_of(expected)
    if fields := list(differing_fields(found.manifest, expected)):
        report.add(MANIFEST, f"{', '.join(fields[:5])}: not what follows from plan and rows")


def _check_secret(content: Content, folder: Path, report: Report) -> None:
    """That a secret part is the one the release is committed to, and repeats none of its programs."""
    if content.private is None:
        report.add(MANIFEST, "is committed to no secret part")
        return
    try:
        solutions = (folder / SOLUTIONS).read_bytes()
        rows = [json.loads(line) for line in solutions.splitlines()]
        forms = {str(row["form"]): str(row["id"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        report.add(str(folder / SOLUTIONS), f"cannot be read ({error})")
        return
    if sha256(solutions) != content.private.get("solutions_sha256"):
        report.add(str(folder / SOLUTIONS), "is not the secret part that the release is committed to")
    for row in content.solutions:
        if (same := forms.get(str(row.get("form")))) is not None:
            report.add(str(folder / SOLUTIONS), f"task {same} is the program of {row['id']}")


# -- what comes of executing them ----------------------------------------------------------------------------


def _sample(content: Content, sample: int | None, seed: int, root: str) -> list[tuple[Row, Row]]:
    """Solutions and what was measured of them, those to be executed."""
    proofs = {row["id"]: row for row in content.validations}
    pairs = [(row, proofs[row["id"]]) for row in content.solutions if row["id"] in proofs]
    if sample is None:
        return pairs
    return Draw("verify", root, seed).shuffled(pairs, "sample")[:sample]


def _execute(pairs: list[tuple[Row, Row]], report: Report, jobs: int, require: str | None) -> None:
    if not pairs:
        return
    started = time.monotonic()

    with Pool(jobs, require=require) as pool:

        def prove(pair: tuple[Row, Row]) -> tuple[Row, Row | str]:
            solution, row = pair
            try:
                return row, measure_again(redraw(solution), pool)
            except CannotRegenerateError:
                return row, ""  # already a problem

        with progress(len(pairs), "executing") as line, closing(in_order(pairs, prove, pool, jobs)) as made:
            for row, now in made:
                line.advance()
                if now == "":
                    continue
                report.executed += 1
                wrong = [now] if isinstance(now, str) else list(_compared(row, now, report))
                for what in wrong:
                    report.add(f"task {row['id']}", what)
                report.repeated += not wrong
    if report.executed:
        report.tasks_per_second = round(report.executed / (time.monotonic() - started), 3)


def measure_again(drawn: Draft, pool: Pool) -> Row | str:
    """What a proof measures now; why it fails, where it does."""
    validation: Validation = validate(drawn.candidate(), pool.run)
    if not validation.ok:
        return f"is no task any more: {validation.discarded}"
    assert validation.broken is not None
    return measured(replace(drawn.variant, alert=alert_text(validation.broken), validation=validation))


def _compared(row: Row, now: Row, report: Report) -> Iterator[str]:
    try:
        yield from report.deviations.compare(row, now)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield f"its row in {VALIDATION} is not whole ({type(error).__name__}: {error})"
