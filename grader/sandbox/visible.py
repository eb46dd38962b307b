"""What of the machine a run gets to see: the interpreter, its standard library, torch, numpy, what they need.

Everything is named by its own path: a traceback reads the same inside and outside.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

LIBRARIES = ("torch", "numpy")
"""With all that they require (see `distributions`). A job that needs more names it in MLDEBUG_SHOW."""
SHOW_VARIABLE = "MLDEBUG_SHOW"
_SYSTEM = ("/lib", "/lib32", "/lib64", "/libx32", "/usr/lib32", "/usr/lib64", "/usr/lib")
_SYSTEM_FILES = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/usr/lib/locale",
    "/sys/devices/system/cpu",
)
DEVICES = ("null", "zero", "full", "random", "urandom")


@dataclass
class Shown:
    """Paths, each of which a run sees at the same place.

    trees: files and folders. hidden: folders inside of them that are emptied before `later` is shown there.
    links: symbolic link → what it says.
    """

    trees: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)

    def paths(self) -> list[str]:
        """All that can be read."""
        return [*self.trees, *self.later]


def distributions(names: tuple[str, ...]) -> list[metadata.Distribution]:
    """The installed distributions of these names and of everything they require."""
    found: dict[str, metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for line in found[name].requires or ():
            if "extra ==" not in line and (match := re.match(r"[\w.-]+", line)):
                waiting.append(match.group())
    return list(found.values())


def _entries(distribution: metadata.Distribution) -> set[str]:
    """The files and folders of a distribution, by the shortest path that is its own alone."""
    root = str(distribution.locate_file(""))
    found = set()
    for line in (distribution.read_text("RECORD") or "").splitlines():
        path = line.split(",")[0].strip('"')
        first, _, rest = path.partition("/")
        if first not in ("", ".."):
            found.add(path if first == "__pycache__" and rest else first)
    return {str(Path(root, name)) for name in found}


def shown() -> Shown:
    """What this interpreter needs."""
    result = Shown()
    stdlib = {
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}),
    }
    if Path(sys.base_prefix, "conda-meta").is_dir():  # conda's shared libraries lie beside its Python
        stdlib = {str(Path(sys.base_prefix, "lib"))}
    for path in sorted(stdlib):
        result.trees.append(path)
    site_folders = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    site_folders |= {
        str(Path(sysconfig.get_path("stdlib"), name)) for name in ("site-packages", "dist-packages")
    }
    result.hidden = sorted(
        path for path in site_folders if _below(path, result.trees) and Path(path).is_dir()
    )
    extra = tuple(name for name in os.environ.get(SHOW_VARIABLE, "").split(",") if name)
    for distribution in distributions((*LIBRARIES, *extra)):
        result.later += sorted(path for path in _entries(distribution) if Path(path).exists())
    _system(result)
    _interpreter(result)
    return result


def _below(path: str, trees: list[str]) -> bool:
    return any(path == tree or path.startswith(tree + os.sep) for tree in trees)


def _system(result: Shown) -> None:
    """Shared libraries: those that this process has loaded, and the folders where the loader looks."""
    architecture = sysconfig.get_config_var("MULTIARCH") or "none"
    for path in _SYSTEM:
        if Path(path).is_symlink():
            result.links[path] = str(Path(path).readlink())
        elif (narrow := Path(path, architecture)).is_dir():
            result.trees.append(str(narrow))
        elif Path(path).is_dir() and (path != "/usr/lib" or architecture == "none"):
            result.trees.append(path)
    result.trees += [path for path in _SYSTEM_FILES if Path(path).exists()]
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line[73:].strip()
        library = path.startswith("/") and (path.endswith(".so") or ".so." in path)
        if library and Path(path).is_file() and not _below(path, result.paths()):
            result.trees.append(path)


def _interpreter(result: Shown) -> None:
    """The executable, through whatever links lead to it, for jobs that start themselves anew."""
    path = Path(sys.executable)
    for _ in range(8):
        if not path.is_symlink():
            break
        result.links[str(path)] = str(path.readlink())
        path = path.parent / path.readlink()
    if path.is_file():
        result.trees.append(os.path.normpath(path))
    if (settings := Path(sys.prefix, "pyvenv.cfg")).is_file():
        result.trees.append(str(settings))
    zipped = [path for path in sys.path if path.endswith(".zip") and Path(path).is_file()]
    result.trees += zipped
