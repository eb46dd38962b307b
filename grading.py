"""Grading for users: tasks from variants, folders and rows; submissions from texts, files and folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .clean_scripts.library import load_job
from .errors import UsageError
from .factory import Variant, describe_data
from .grader.by_trace.task import OwnTask
from .grader.grade import Fix, Grader
from .grader.judge import Judge
from .grader.runner import Pool
from .grader.submission import MOST_BYTES, MOST_FILES
from .grader.task import Task
from .grader.verdict import Verdict
from .mutators.base import canonical_bugs, mutator
from .mutators.workspace import Workspace
from .source.factory import OwnVariant
from .source.task import is_own, own_task_of_folder, own_task_of_row, own_task_of_variant
from .task_folder import line_of, read_task

Source = Variant | OwnVariant | Task | OwnTask | Mapping[str, Any] | str | os.PathLike[str]
"""What a task may be given as: a variant, a task, a row of a JSONL file, or a task folder."""
Submitted = Mapping[str, str] | str | os.PathLike[str]
"""What a submission may be given as: path → text, the text of the entry point, or a file or folder."""

ONLY_GRADED = (
    "was made of a script of somebody's own: `mldebug grade` and `mldebug explain` know it, episodes and "
    "releases need a job of the library"
)

NOT_SOURCES = frozenset({"data", "__pycache__", "predictions.npz", "metrics.json"})
"""Of a submitted folder: what a job reads and writes, which is the harness's own."""


def grade(
    task: Source,
    submission: Submitted,
    bugs: str | Collection[str],
    diagnosis: str = "",
    *,
    step: int | None = None,
    strict_seed_scoring: bool = False,
    judge: Judge | None = None,
    pool: Pool | None = None,
) -> Verdict:
    """The verdict on one submission.

    Args:
        task: a variant, a task folder, or a row of a JSONL file.
        submission: path → text (files left out are taken from the task), the text of the entry point, or a
            path to a file or folder.
        bugs: the classes that are claimed, by any of their names.
        diagnosis: what was wrong, in words; worth up to 0.15 if the task is solved.
        step: which step of an episode this is (see `grader.ladder.efficiency`).
        strict_seed_scoring: pay a silent bug that was left as it was 0.60, as the first seed did.
        pool: a running pool to use; by default one is started for this call, which costs seconds.

    Raises:
        UsageError: the task cannot be read, or a submission's path names nothing.
    """
    known = any_task_of(task)
    fix = Fix(submission_files(submission, known), bugs, diagnosis)
    with ExitStack() as stack:
        run = (pool or stack.enter_context(Pool(1))).run
        return Grader(run, judge=judge, strict_seed_scoring=strict_seed_scoring).grade(known, fix, step=step)


def grade_many(
    pairs: Iterable[tuple[Source, Fix]],
    *,
    jobs: int = 1,
    strict_seed_scoring: bool = False,
    judge: Judge | None = None,
    pool: Pool | None = None,
) -> Iterator[Verdict]:
    """Verdicts in the order of the pairs of a task and a `Fix`, `jobs` at a time; what belongs to a task (its
    reference's runs) is done once."""
    with ExitStack() as stack:
        run = (pool or stack.enter_context(Pool(jobs))).run
        grader = Grader(run, judge=judge, strict_seed_scoring=strict_seed_scoring)
        yield from grader.grade_many(((any_task_of(task), fix) for task, fix in pairs), jobs=jobs)


def any_task_of(source: Source) -> Task | OwnTask:
    """The task, from whatever holds it, of a job of the library or of somebody's own script.

    Raises:
        UsageError: it does, but not whole, or was made by another version of the data.
    """
    if isinstance(source, OwnTask | Task):
        return source
    if isinstance(source, OwnVariant):
        return own_task_of_variant(source)
    if isinstance(source, Variant):
        return task_of_variant(source)
    if isinstance(source, Mapping):
        return own_task_of_row(source) if is_own(source.get("truth")) else task_of_row(source)
    folder = Path(source)
    records = read_task(folder)
    if is_own(records["truth"]):
        return own_task_of_folder(folder, records, _reference(folder))
    return task_of_folder(folder)


def task_of(source: Source) -> Task:
    """The task, from whatever holds it, of a job of the library.

    Raises:
        UsageError: as `any_task_of`; or it is of somebody's own script.
    """
    found = any_task_of(source)
    if isinstance(found, OwnTask):
        raise UsageError(f"task {found.id}: {ONLY_GRADED}")
    return found


def task_of_variant(variant: Variant) -> Task:
    """A variant's task."""
    places = {}
    for one in variant.injections:
        line = line_of(variant.reference[one.site.file], one.site.start)
        places[one.bug_class] = f"{one.site.file}:{line} in {one.site.qualname}"
    return Task(
        id=variant.id,
        bugs=variant.bugs,
        spec=load_job(variant.script),
        device=variant.device,
        visible_seed=int(variant.data["seed"]),
        hidden_seed=variant.hidden_seed,
        broken=Workspace.of(variant.files, variant.entrypoint),
        reference=Workspace.of(variant.reference, variant.entrypoint),
        causes={
            one.bug_class: mutator(one.bug_class).manifestation(one.manifestation).summary
            for one in variant.injections
        },
        places=places,
    )


def task_of_row(row: Mapping[str, Any]) -> Task:
    """The task of one line that `mldebug gen --jsonl` printed.

    Raises:
        UsageError: the row is not whole, or its data would come out otherwise with this version.
    """
    if is_own(row.get("truth")):
        raise UsageError(f"this row's task {ONLY_GRADED}")
    try:
        files, reference, entrypoint = dict(row["files"]), dict(row["reference"]), str(row["entrypoint"])
        return _task(str(row["id"]), row["truth"], files, reference, entrypoint)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"this is not a row that `mldebug gen --jsonl` printed ({type(error).__name__}: {error})"
        ) from None


def task_of_folder(folder: Path) -> Task:
    """The task of a folder that `mldebug gen` wrote.

    Raises:
        UsageError: the folder is missing, is no task folder, or is not whole.
    """
    records = read_task(folder)
    if is_own(records["truth"]):
        raise UsageError(f"{folder}: {ONLY_GRADED}")
    reference = _reference(folder)
    files = {}
    for name in reference:
        try:
            files[name] = (folder / "workspace" / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{folder}: workspace/{name} cannot be read ({error})") from None
    try:
        task = records["task"]
        return _task(str(task["id"]), records["truth"], files, reference, str(task["entrypoint"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{folder}: its records are not those of a task ({type(error).__name__}: {error}); "
            "generate it again"
        ) from None


def _reference(folder: Path) -> dict[str, str]:
    reference = _texts(folder / "solution" / "reference")
    if not reference:
        raise UsageError(f"{folder}: solution/reference holds no sources; generate the task again")
    return reference


def _task(
    id: str, truth: Mapping[str, Any], files: Mapping[str, str], reference: Mapping[str, str], entrypoint: str
) -> Task:
    spec = load_job(str(truth["script"]))
    data = truth["data"]
    made = describe_data(spec.name, int(data["seed"]))
    if made["sha256"] != data["sha256"]:
        raise UsageError(
            f"task {id}: its data was made by {data['generator']!r} and comes out otherwise with this "
            f"version's {made['generator']!r}; use the version it was made with ({truth['versions']})"
        )
    if truth["device"] not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {truth['device']!r}")
    if entrypoint not in files or set(files) != set(reference):
        raise ValueError("the broken and the correct sources do not fit together")
    return Task(
        id=id,
        bugs=canonical_bugs(list(truth["bugs"])),
        spec=spec,
        device=truth["device"],
        visible_seed=int(data["seed"]),
        hidden_seed=int(truth["hidden_data_seed"]),
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


def submission_files(submission: Submitted, task: Task | OwnTask) -> Mapping[str, str]:
    """Path → text of a submission.

    Raises:
        UsageError: a path names nothing that can be read.
    """
    if isinstance(submission, Mapping):
        return submission
    if isinstance(submission, str) and ("\n" in submission or not Path(submission).exists()):
        if submission.endswith(".py") and "\n" not in submission:
            raise UsageError(f"submission {submission}: there is no such file or folder")
        return {task.broken.entrypoint: submission}
    path = Path(submission)
    if path.is_dir():
        if isinstance(task, OwnTask):
            found = _own_texts(path)
        else:
            texts = _texts(path)
            found = {name: texts[name] for name in texts if not _left_behind(name, texts[name], task)}
        if not found:
            raise UsageError(
                f"submission {path}: holds no sources; name a file, or a folder with {'train.py'}"
            )
        return found
    return {task.broken.entrypoint: _text(path)}


def _left_behind(name: str, text: str, task: Task) -> bool:
    """Whether a file is what somebody's run left beside the sources, such as a checkpoint: no Python, not one
    of the task's own, and no text."""
    if name.endswith(".py") or name in task.broken.files:
        return False
    if len(text) > MOST_BYTES or "\0" in text:
        return True
    return any("\udc80" <= sign <= "\udcff" for sign in text)


def _own_texts(folder: Path) -> dict[str, str]:
    """Of a submission to a task of somebody's own script, the Python sources: what else lies there is its
    data, or what a run of it wrote."""
    return _texts(folder, lambda name: name.endswith(".py"), frozenset({"__pycache__"}))


def _text(path: Path) -> str:
    """The text of a regular file. What is too large or no UTF-8 is kept as far as it can be told apart, so
    that the grader refuses it with a verdict."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"submission {path}: cannot be read ({error.strerror})") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UsageError(f"submission {path}: is not a regular file")
        return file.read(MOST_BYTES + 1).decode("utf-8", "surrogateescape")


def _texts(
    folder: Path,
    wanted: Callable[[str], bool] = lambda name: True,
    left_out: Collection[str] = NOT_SOURCES,
) -> dict[str, str]:
    """The sources below a folder: path → text. Data, artifacts, caches and hidden files are left out, links
    are not followed."""
    found: dict[str, str] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in left_out and name[0] != ".")
        for name in sorted(names):
            path = Path(place) / name
            if name in left_out or name[0] == "." or path.is_symlink() or not path.is_file():
                continue
            if not wanted(name):
                continue
            found[path.relative_to(folder).as_posix()] = _text(path)
            if len(found) > MOST_FILES:
                return found
    return found
