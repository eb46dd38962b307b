"""A variant on disk and as a JSON row: what an agent may see apart from what it may not."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from .clean_scripts.data import data_files
from .clean_scripts.library import load_job
from .errors import UsageError
from .factory import Proof, Variant, describe_data, opaque_id
from .grader.evidence import job_data
from .grader.oracles.base import Finding
from .grader.runner.folder import checked_path
from .grader.traits import traits
from .mutators.compose import Injection
from .mutators.workspace import Workspace, unified_patch
from .output.ledger import Ledger
from .output.release_rows import whole_rows
from .output.whole_file import put_whole
from .seeds import ENGINE_VERSION, ENGINES
from .versions import made_by, run_by

BUDGET = 5
"""Steps of an episode, as in the first seed."""

TOOLS = (
    "eval",
    "get_traceback",
    "grep",
    "inspect_data",
    "inspect_gradients",
    "inspect_optimizer",
    "listdir",
    "pdb",
    "print_shapes",
    "repeat_eval",
    "rewrite",
    "run_code",
    "submit",
    "trace",
    "view",
    "view_source",
)
"""What an agent has by default (`env/tools/` holds one module each): every task names the same ones."""

SCHEMA = 1


def canonical_json(value: Any) -> str:
    """Sorted keys, two spaces, a last newline: the same value always gives the same bytes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def task_record(variant: Variant) -> dict[str, Any]:
    """`task.json`: what an agent may know."""
    return agent_record(variant.id, variant.alert, variant.entrypoint)


def agent_record(id: str, alert: str | None, entrypoint: str) -> dict[str, Any]:
    """`task.json` of any task."""
    return {
        "schema": SCHEMA,
        "id": id,
        "alert": alert,
        "entrypoint": entrypoint,
        "budget": BUDGET,
        "tools": list(TOOLS),
    }


def truth_record(variant: Variant) -> dict[str, Any]:
    """`solution/truth.json`: everything the bytes follow from."""
    return {
        "schema": SCHEMA,
        "id": variant.id,
        "bugs": list(variant.bugs),
        "script": variant.script,
        "style": variant.style,
        "base": {
            "alternative": variant.base.alternative,
            "structures": list(variant.base.structures),
            "distractors": [vars(one) for one in variant.distractors],
            **({} if variant.engine == ENGINES[0] else {"phrasings": list(variant.phrasings)}),
        },
        "seed": variant.seed,
        "index": variant.index,
        "attempt": variant.attempt,
        "device": variant.device,
        "data": dict(variant.data),
        "hidden_data_seed": variant.hidden_seed,
        "injections": injection_records(variant.injections, variant.reference),
        "versions": made_by() | {"engine": variant.engine},
    }


def injection_records(injections: Iterable[Injection], reference: Mapping[str, str]) -> list[dict[str, Any]]:
    """What was injected where, as `truth.json` holds it."""
    return [
        {
            "bug": one.bug_class,
            "manifestation": one.manifestation,
            "choice": one.choice,
            "site": {
                "file": one.site.file,
                "bytes": [one.site.start, one.site.end],
                "line": line_of(reference[one.site.file], one.site.start),
                "function": one.site.qualname,
            },
            "edits": [
                {"file": edit.file, "bytes": [edit.start, edit.end], "replacement": edit.replacement}
                for edit in one.edits
            ],
        }
        for one in injections
    ]


def validation_record(variant: Variant) -> dict[str, Any] | None:
    """`validation.json`: what was run, on what, with which result; None for an unverified variant."""
    proof = variant.validation
    if proof is None or proof.reference is None or proof.broken is None:
        return None
    reference = [run.metric for run in proof.reference.runs[:2]]
    return {
        "schema": SCHEMA,
        "verified": proof.ok,
        "shared_with": variant.shared_with,
        "alert": variant.alert,
        "runs": proof.runs,
        "seconds": round(proof.seconds, 3),
        "reference": {
            "metric": load_job(variant.script).metric.name,
            "visible": reference[0],
            "hidden": reference[1],
        },
        "mutant": {"outcome": proof.broken.result.outcome, "exit_code": proof.broken.result.exit_code},
        "findings": {bug: finding_record(finding) for bug, finding in proof.findings.items()},
        "traits": traits(
            proof.broken,
            variant.files,
            variant.reference,
            [one.edits for one in variant.injections],
            len(variant.distractors),
        ).record(),
        "discarded": list(variant.discarded),
        "guarantees": list(proof.broken.result.guarantees),
        "versions": run_by(),
    }


def finding_record(finding: Finding) -> dict[str, Any]:
    return {
        "present": finding.present,
        "reason": finding.reason,
        "effect": plain(finding.effect),
        "floor": plain(finding.floor),
        "facts": {name: plain(value) for name, value in finding.facts.items()},
    }


def plain(value: Any) -> Any:
    """A value JSON can hold: numbers that are not finite become their names."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    return value


def json_row(variant: Variant) -> dict[str, Any]:
    """One line of `--jsonl`: a variant that can be made runnable again from it alone. Holds the truth."""
    return {
        "id": variant.id,
        "bugs": list(variant.bugs),
        "script": variant.script,
        "seed": variant.seed,
        "index": variant.index,
        "attempt": variant.attempt,
        "alert": variant.alert,
        "entrypoint": variant.entrypoint,
        "device": variant.device,
        "files": dict(variant.files),
        "reference": dict(variant.reference),
        "data": dict(variant.data),
        "truth": truth_record(variant),
        "verified": variant.verified,
    }


def row_files(row: Mapping[str, Any]) -> tuple[str, dict[str, bytes]]:
    """The id of a row's task, and its folder: path → content, byte for byte what `mldebug gen` writes but for
    the record of the runs (`validation.json`), which is no part of a row.

    Raises:
        UsageError: the row is not whole, was changed, or its data would come out otherwise with this version.
    """
    try:
        files, reference, truth = dict(row["files"]), dict(row["reference"]), dict(row["truth"])
        spec, data = load_job(str(row["script"])), dict(row["data"])
        if set(files) != set(reference) or truth["id"] != row["id"] or truth["data"] != data:
            raise ValueError("its parts do not fit together")
        for name in files:
            checked_path(name)
        made = describe_data(spec.name, int(data["seed"]))
        workspace = Workspace.of(files, str(row["entrypoint"]))
        if made["sha256"] != data["sha256"]:
            raise UsageError(
                f"row {row['id']!r}: its data comes out otherwise with this version ({truth['versions']})"
            )
        if opaque_id(workspace, str(data["sha256"])) != row["id"]:
            raise ValueError("its sources are not those that its id was made from")
        record = agent_record(row["id"], row["alert"], str(row["entrypoint"]))
        found = {
            "task.json": canonical_json(record).encode(),
            "solution/truth.json": canonical_json(truth).encode(),
            "solution/fix.patch": unified_patch(files, reference).encode(),
        }
        found |= {f"workspace/{name}": text.encode() for name, text in files.items()}
        found |= {f"workspace/{n}": c for n, c in data_files(job_data(spec, int(data["seed"]))).items()}
        found |= {f"solution/reference/{name}": text.encode() for name, text in reference.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"not a row that `mldebug gen --jsonl` printed ({error})") from None
    return str(row["id"]), found


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file, one at a time; of a release's file of tasks, each with its solution.

    Raises:
        UsageError: the file cannot be read, or a line is no JSON object; it names the line. Or a release's
            solutions are not there.
    """
    return whole_rows(_rows(path), path)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line, parse_constant=_no_constant)
                except (ValueError, RecursionError) as error:
                    raise UsageError(f"{path}, line {number}: not valid JSON ({error})") from None
                if not isinstance(row, dict):
                    raise UsageError(f"{path}, line {number}: must hold a JSON object")
                yield row
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: cannot be read ({error}); name a file that `mldebug gen --jsonl` printed"
        ) from None


def line_of(text: str, offset: int) -> int:
    """The line, from 1 on, on which a byte offset lies."""
    return text.encode()[:offset].count(b"\n") + 1


def folder_files(variant: Variant) -> dict[str, bytes]:
    """Path relative to the task folder → content."""
    files = {
        "task.json": canonical_json(task_record(variant)).encode(),
        "solution/truth.json": canonical_json(truth_record(variant)).encode(),
        "solution/fix.patch": unified_patch(variant.files, variant.reference).encode(),
    }
    files |= {f"workspace/{name}": text.encode() for name, text in variant.files.items()}
    files |= {f"workspace/{name}": content for name, content in variant.data_files().items()}
    files |= {f"solution/reference/{name}": text.encode() for name, text in variant.reference.items()}
    record = validation_record(variant)
    if record is not None:
        files["validation.json"] = canonical_json(record).encode()
    return files


class Made(Protocol):
    """What a folder or a file of rows asks of a variant, whatever it was made of."""

    @property
    def id(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def proved_before(self) -> bool: ...


class OutputFolder:
    """Where one request's tasks go: whole folders only, appearing under their names at once.

    `request.json` beside them says which request they belong to, so that a rerun can tell its own work from
    other things; `tasks.jsonl` names the task of each index, `skipped.jsonl` the indices that gave none.
    Writing the same bytes again is not an error.

    Args:
        resume: insist that this request has begun here, and trust the tasks that are there; otherwise each of
            them is made again and compared.
        limit: how many indices are asked for.

    Raises:
        UsageError: the folder cannot be written, or holds other things.
    """

    MARK = "request.json"
    PARTIAL = ".partial-"
    MADE = "tasks.jsonl"
    SKIPPED = "skipped.jsonl"

    def __init__(
        self, path: Path, request: Mapping[str, Any], *, resume: bool = False, limit: int = sys.maxsize
    ) -> None:
        self.path = path
        self._resume = resume
        self._expected: dict[int, str] = {}
        mark = request_mark(request)
        if resume and not (path / self.MARK).is_file():
            raise UsageError(
                f"--resume: nothing was begun in {path} (it has no {self.MARK}); "
                "run without --resume, or name the folder with --out"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock()
            try:
                self._claim(mark)
                with tempfile.TemporaryFile(dir=path):
                    pass
                self.ledger = Ledger(path / self.MADE, path / self.SKIPPED, {}, limit)
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise UsageError(
                f"--out {path}: cannot write there ({error.strerror or error}); "
                "name a folder you may write to"
            ) from None

    def _lock(self) -> None:
        """One writer at a time: the lock lasts as long as this process."""
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise UsageError(
                f"--out {self.path}: another run is writing there; wait for it, or name another folder"
            ) from None

    def _claim(self, mark: bytes) -> None:
        found = self.path / self.MARK
        if found.is_file() and found.read_bytes() != mark and not self._has_tasks():
            found.unlink()  # of a request that came to nothing
        if found.is_file():
            if found.read_bytes() != mark:
                raise UsageError(
                    f"--out {self.path}: holds the tasks of another request (see {found.name} there); "
                    "name another folder, or empty this one"
                )
            for entry in self._entries():
                if entry.startswith(self.PARTIAL):
                    shutil.rmtree(self.path / entry, ignore_errors=True)
        elif any(not entry.startswith(self.PARTIAL) for entry in self._entries()):
            raise UsageError(
                f"--out {self.path}: is not empty and holds other things; name a new or an empty folder"
            )
        else:
            put_whole(found, mark)

    def _has_tasks(self) -> bool:
        return any(one != self.MARK and not one.startswith(self.PARTIAL) for one in self._entries())

    def _entries(self) -> Iterator[str]:
        """The names in the folder, one at a time: there may be very many."""
        with os.scandir(self.path) as entries:
            for entry in entries:
                yield entry.name

    def close(self) -> None:
        """Let others write here."""
        self.ledger.close()
        os.close(self._descriptor)

    def done(self, index: int) -> bool:
        """Whether an index needs no further work. Asked, like `proof`, in rising order only."""
        found = self.ledger.at(index)
        if found is None:
            return False
        record = found[1]
        return "reasons" in record or (
            self._resume and (self.path / str(record.get("id")) / "task.json").is_file()
        )

    def proof(self, index: int) -> Proof | None:
        """The proof of the task of an index; None where there is none, or its records do not fit together:
        then it is proved anew, and `write` says what differs."""
        found = self.ledger.at(index)
        if found is None:
            return None
        id = self._expected[index] = str(found[1].get("id"))
        try:
            records = read_task(self.path / id)
            truth, validation = records["truth"], records["validation"] or {}
            proof = Proof(
                truth["id"], int(truth["attempt"]), str(validation["alert"]), tuple(validation["discarded"])
            )
            fits = validation["verified"] is True and int(truth["index"]) == index
        except (UsageError, KeyError, TypeError, ValueError):
            return None
        return proof if fits and proof.id == records["task"].get("id") == id else None

    def skip(self, index: int, reasons: Mapping[str, int], same_as: int | None = None) -> None:
        """Write down that an index gave no task (see `Ledger.skip`)."""
        self.ledger.skip(index, reasons, same_as)

    def write(self, variant: Made, files: Mapping[str, bytes]) -> tuple[Path, bool]:
        """A variant's folder, and whether it was written now (False: the same bytes were there already).

        files: path → content, as `folder_files` gives them.

        Raises:
            UsageError: the folder is there with other content.
        """
        expected = self._expected.pop(variant.index, variant.id)
        if expected != variant.id:
            raise UsageError(
                f"{self.path / self.MADE}: names {expected} for index {variant.index}, but this request "
                f"gives {variant.id}; move the folder away and begin anew"
            )
        # A proof that was made again may round its alert otherwise; one that was recalled may not.
        measured = {"validation.json"} if variant.proved_before else {"validation.json", "task.json"}
        if variant.proved_before and (self.path / variant.id).exists():
            files = {**files, "validation.json": b""}
        placed = self.place(variant.id, files, measured)
        if variant.index >= self.ledger.count:
            record = {"id": variant.id, "index": variant.index}
            self.ledger.add(variant.index, json.dumps(record, sort_keys=True).encode())
        return placed

    def place(self, id: str, files: Mapping[str, bytes], measured: Collection[str] = ()) -> tuple[Path, bool]:
        """The same for a task that is there as files; `measured` ones must only be there.

        Raises:
            UsageError: the folder is there with other content.
        """
        target = self.path / id
        if target.exists():
            if differing := self._differing(target, files, measured):
                raise UsageError(
                    f"{target}: is there already, but {differing} differs from what this request gives; "
                    "move it away and run again"
                )
            return target, False
        partial = Path(tempfile.mkdtemp(prefix=self.PARTIAL, dir=self.path))
        try:
            for name, content in files.items():
                place = partial / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            partial.chmod(0o777 & ~_umask())
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return target, True

    @staticmethod
    def _differing(target: Path, files: Mapping[str, bytes], measured: Collection[str]) -> str | None:
        """The first file that is not as it should be. What a run measured must only be there."""
        for name, content in sorted(files.items()):
            place = target / name
            if not place.is_file() or (name not in measured and place.read_bytes() != content):
                return name
        return None


def request_mark(request: Mapping[str, Any]) -> bytes:
    """What says of an output which request it belongs to."""
    return canonical_json({"schema": SCHEMA, "engine": ENGINE_VERSION, **request}).encode()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_task(folder: Path) -> dict[str, Any]:
    """The records of a task folder: keys `task`, `truth`, `validation` (None if absent), `patch`.

    Raises:
        UsageError: the folder is missing or is no task folder.
    """
    found: dict[str, Any] = {}
    for key, name in (("task", "task.json"), ("truth", "solution/truth.json")):
        found[key] = _read_json(folder, name)
    found["validation"] = (
        _read_json(folder, "validation.json") if (folder / "validation.json").exists() else None
    )
    try:
        found["patch"] = (folder / "solution" / "fix.patch").read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{folder}: solution/fix.patch cannot be read ({error})") from None
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _read_json(folder: Path, name: str) -> Any:
    try:
        value = json.loads((folder / name).read_text("utf-8"), parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate could not be printed
    except OSError as error:
        raise UsageError(
            f"{folder}: {name} cannot be read ({error.strerror}); name a task folder that `mldebug gen` wrote"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{folder}: {name} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise UsageError(f"{folder}: {name} must hold a JSON object")
    return value
