"""A script of the user's own, read from disk: its sources, its modules, and the files beside it as data.

Nothing is ever written where it lies.
"""

from __future__ import annotations

import ast
import hashlib
import os
import stat
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import UsageError
from ..mutators.workspace import Workspace
from ..python_ast import parse_module

ENTRY_POINTS = ("train.py", "main.py")
"""What starts a folder's job, the first that is there."""
MOST_SOURCES = 64
MOST_SOURCE_BYTES = 1 << 20
"""As of a submission (`grader/submission.py`), which holds the same files."""
MOST_DATA_FILES = 1000
MOST_DATA_BYTES = 64 << 20
"""All data together: it is copied into the memory of every run and into every task folder."""
MOST_SCANNED = 20_000
"""Entries of a folder that are looked at before it is called no folder of a script."""


@dataclass(frozen=True)
class OwnSource:
    """A script that nobody here wrote, and what lies beside it.

    name: of the file or folder that was named, without its place. entrypoint: what is run.
    sources: path → text of every Python file. data: path → content of every other file.
    reached: the sources that the entry point imports, itself among them, sorted: where bugs may go.
    """

    name: str
    entrypoint: str
    sources: Mapping[str, str] = field(repr=False)
    data: Mapping[str, bytes] = field(repr=False)
    reached: tuple[str, ...]

    @property
    def workspace(self) -> Workspace:
        """All sources."""
        return Workspace.of(self.sources, self.entrypoint)

    @property
    def mutable(self) -> Workspace:
        """The sources that a bug may be put into."""
        return Workspace.of({name: self.sources[name] for name in self.reached}, self.entrypoint)

    @property
    def asks_for_gpu(self) -> bool:
        """Whether a source that is run speaks of CUDA or of an accelerator."""
        texts = (self.sources[name] for name in self.reached)
        return any("cuda" in text or "torch.accelerator" in text for text in texts)

    def sources_sha256(self) -> str:
        return files_sha256({name: text.encode() for name, text in self.sources.items()})

    def data_sha256(self) -> str:
        return files_sha256(self.data)


def files_sha256(files: Mapping[str, bytes]) -> str:
    """SHA-256 over path and content of every file, in the order of the paths."""
    total = hashlib.sha256()
    for path, content in sorted(files.items()):
        total.update(f"{path}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def read_sources(path: Path) -> Workspace:
    """What `mldebug sites` looks at: of a file itself and the modules beside it that it imports, of a folder
    every Python file. No data is read.

    Raises:
        UsageError: see `read_own`.
    """
    root, entry = _root(path)
    if entry is not None:
        sources: dict[str, str] = {}
        _reach(entry, lambda name: _beside(root, name), sources)
        return Workspace.of(sources, entry)
    sources = {name: _text(root / name, name) for name in _walk(root) if name.endswith(".py")}
    if not sources:
        raise UsageError(f"{path}: holds no Python file; name a training script, or a folder with one")
    for name, text in sources.items():
        check_parses(name, text)
    return Workspace.of(sources, _entry_of(sources) or min(sources))


def read_own(path: Path) -> OwnSource:
    """The script at a path: a file, with the folder it lies in; or a folder that holds train.py or main.py.

    Names that begin with a dot, `__pycache__` and virtual environments are left out.

    Raises:
        UsageError: there is nothing of that name; a link, a special file or a name that is no plain text;
            more than there may be; a source that is no UTF-8 or does not parse (with line and column).
    """
    root, entry = _root(path)
    names = _walk(root)
    sources = {name: _text(root / name, name) for name in names if name.endswith(".py")}
    entry = entry or _entry_of(sources)
    if entry is None:
        raise UsageError(
            f"{path}: holds neither {' nor '.join(ENTRY_POINTS)}; name the file that starts the training"
        )
    if len(sources) > MOST_SOURCES or sum(map(len, sources.values())) > MOST_SOURCE_BYTES:
        raise UsageError(
            f"{root}: more than {MOST_SOURCES} Python files or {MOST_SOURCE_BYTES >> 20} MiB of them; "
            "move the script and its modules to a folder of their own"
        )
    reached: dict[str, str] = {}
    _reach(entry, sources.get, reached)
    others = [name for name in names if name not in sources]
    return OwnSource(path.name or root.name, entry, sources, _data(root, others), tuple(sorted(reached)))


def with_files_of(source: OwnSource, folder: Path) -> OwnSource:
    """The same script with what lies in a prepared copy of its folder."""
    return replace(read_own(folder / source.entrypoint), name=source.name)


def copy_to(source: OwnSource, folder: Path) -> None:
    """Write all files of a script below an empty folder."""
    files = {name: text.encode() for name, text in source.sources.items()} | dict(source.data)
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def check_parses(name: str, text: str) -> None:
    """Raises UsageError with line and column unless the text is Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(text, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise UsageError(
            f"{name}, line {error.lineno or 1}, column {error.offset or 1}: does not parse ({error.msg}); "
            "give a script that runs"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{name}: does not parse ({error or type(error).__name__})") from None


def _root(path: Path) -> tuple[Path, str | None]:
    """The folder of a script, and the file in it that was named (None: the folder was)."""
    if path.is_symlink():
        raise UsageError(f"{path}: is a symbolic link; name the file or folder that it leads to")
    if path.is_dir():
        return path, None
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder; name a training script, or its folder")
    if not path.is_file():
        raise UsageError(f"{path}: is not a regular file; name a training script, or its folder")
    if path.suffix != ".py":
        raise UsageError(f"{path}: is not a Python file (its name does not end in .py)")
    return path.parent, path.name


def _entry_of(sources: Mapping[str, str]) -> str | None:
    return next((name for name in ENTRY_POINTS if name in sources), None)


def _beside(root: Path, name: str) -> str | None:
    place = root / name
    if place.is_symlink():
        raise UsageError(f"{place}: is a symbolic link; a script's modules must be files of its own folder")
    return _text(place, name) if place.is_file() else None


def _walk(root: Path) -> list[str]:
    """Every file below a folder, as sorted plain paths."""
    found: list[str] = []
    seen = 0
    for place, folders, files in os.walk(root, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not _left_out(Path(place), name))
        for name in (*folders, *sorted(files)):
            if name in files and name[0] == ".":
                continue
            seen += 1
            path = Path(place, name)
            mode = path.lstat().st_mode
            shown = ascii(str(path.relative_to(root)))[1:-1]
            if seen > MOST_SCANNED:
                raise UsageError(f"{root}: holds more than {MOST_SCANNED} files; {_MOVE}")
            if not _plain(name):
                raise UsageError(f"{root}: the name {shown} is not plain printable text; rename it")
            if stat.S_ISLNK(mode):
                raise UsageError(
                    f"{root}: {shown} is a symbolic link; put the file itself there, or remove it"
                )
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UsageError(f"{root}: {shown} is neither a file nor a folder; remove it")
            if stat.S_ISREG(mode):
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


_MOVE = "move the script and what it reads to a folder of their own"


def _left_out(place: Path, name: str) -> bool:
    return name[0] == "." or name == "__pycache__" or (place / name / "pyvenv.cfg").is_file()


def _plain(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name.isprintable() and "\\" not in name


def _unreadable(error: OSError) -> None:
    raise UsageError(f"{error.filename}: cannot be read ({error.strerror})")


def _text(path: Path, name: str) -> str:
    content = _content(path)
    if len(content) > MOST_SOURCE_BYTES:
        raise UsageError(f"{path}: larger than {MOST_SOURCE_BYTES >> 20} MiB; that is no training script")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(f"{name}, line {line}: is not UTF-8 text; save it as UTF-8") from None


def _content(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MOST_DATA_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None


def _data(root: Path, names: list[str]) -> dict[str, bytes]:
    if len(names) > MOST_DATA_FILES:
        raise UsageError(f"{root}: holds more than {MOST_DATA_FILES} files beside the sources; {_MOVE}")
    sizes = {name: (root / name).stat().st_size for name in names}
    if (total := sum(sizes.values())) > MOST_DATA_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UsageError(
            f"{root}: {total >> 20} MiB of files beside the sources (the largest: {largest}), at most "
            f"{MOST_DATA_BYTES >> 20} are copied; {_MOVE}, with a smaller sample of the data"
        )
    return {name: _content(root / name) for name in names}


def _reach(entry: str, text_of: Callable[[str], str | None], found: dict[str, str]) -> None:
    """Collect the entry point and all modules of its folder that it imports, as far as its text says."""
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        text = text_of(name)
        if text is None:
            continue
        check_parses(name, text)
        found[name] = text
        if len(found) > MOST_SOURCES:
            raise UsageError(f"{entry}: imports more than {MOST_SOURCES} modules of its folder")
        waiting += _imported(name, text)


def _imported(name: str, text: str) -> list[str]:
    """The files that the imports of a source could name, whether or not they are there."""
    modules: set[str] = set()
    package = name.split("/")[:-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        tree = parse_module(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            modules |= {f"{base}.{alias.name}".lstrip(".") for alias in node.names} | {base}
    found: set[str] = set()
    for module in modules:
        parts = [part for part in module.split(".") if part]
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            found |= {f"{path}.py", f"{path}/__init__.py"}
    return sorted(found, reverse=True)
