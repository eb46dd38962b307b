"""A root file system that holds what a run is shown, read-only, and nothing else."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import kernel
from .visible import DEVICES, Shown

OWN = ("workspace", "home", "tmp", "dev/shm")
"""Folders that each run gets fresh."""
STAGE = "/mnt"
"""An empty folder of the new root, over which a run's own folders are prepared."""
USER = 1000
"""The id of the user that a run is, inside."""
MOST_FILES = 100_000
"""Files and folders of one run; each costs about 1 KiB of kernel memory."""
_LOCKED = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_HOSTS = ("/mnt", "/media", "/opt", "/var", "/tmp")
_FILES = {
    "etc/passwd": f"user:x:{USER}:{USER}::/home:/bin/sh\n",
    "etc/group": f"user:x:{USER}:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_LINKS = {
    "dev/fd": "/proc/self/fd",
    "dev/stdin": "/proc/self/fd/0",
    "dev/stdout": "/proc/self/fd/1",
    "dev/stderr": "/proc/self/fd/2",
}


def enter(shown: Shown) -> None:
    """Make it the root of this process, which has to be alone in its mount namespace and may mount in it.

    Sources are opened before anything is mounted, so it does not matter where they lie.

    Raises:
        OSError: a mount was refused.
    """
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    sources = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in shown.paths()}
    devices = {name: os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC) for name in DEVICES}
    proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    root = next((path for path in _HOSTS if Path(path).is_dir()), "/tmp")
    opened = [*sources.values(), *devices.values(), proc]
    try:
        kernel.mount("root", root, "tmpfs", kernel.MS_NOSUID, "mode=755,size=4m")
        os.chdir(root)
        for name in (*OWN, "proc", "etc", STAGE[1:]):
            Path(name).mkdir(parents=True, exist_ok=True)
        for name, text in _FILES.items():
            Path(name).write_text(text)
        for name, target in _LINKS.items():
            Path(name).symlink_to(target)
        _show(shown, sources)
        kernel.make_read_only(".")
        for name, descriptor in devices.items():
            _bind(descriptor, f"dev/{name}")
        # Only where the old /proc is still there may a namespace of its own mount its /proc.
        _bind(proc, "proc")
        kernel.pivot_root_here()
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _show(shown: Shown, sources: dict[str, int]) -> None:
    for link, target in shown.links.items():
        place = Path("." + link)
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            place.symlink_to(target)
    for name in DEVICES:
        Path("dev", name).touch()
    for path in shown.trees:
        _make_place(sources[path], "." + path)
        _bind(sources[path], "." + path)
    for path in shown.hidden:
        kernel.mount("hidden", "." + path, "tmpfs", kernel.MS_NOSUID, "mode=755,size=1m")
    for path in shown.later:
        _make_place(sources[path], "." + path)
        _bind(sources[path], "." + path)


def _make_place(source: int, target: str) -> None:
    place = Path(target)
    if stat.S_ISDIR(os.fstat(source).st_mode):
        place.mkdir(parents=True, exist_ok=True)
    elif not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()


def _bind(source: int, target: str) -> None:
    kernel.mount(f"/proc/self/fd/{source}", target, None, kernel.MS_BIND | kernel.MS_REC)


@contextlib.contextmanager
def _shown_again(covered: list[str]) -> Iterator[None]:
    """What is mounted meanwhile hides these paths; afterwards they are shown again on top."""
    again = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in covered}
    yield
    for path, source in again.items():
        _make_place(source, path)
        _bind(source, path)
        os.close(source)


def mount_for_zygote(covered: list[str]) -> None:
    """The first process's own /proc and /tmp: torch makes a folder for its caches when it is imported."""
    kernel.mount("proc", "/proc", "proc", _LOCKED)
    with _shown_again([path for path in covered if path.startswith("/tmp/")]):
        kernel.mount("tmp", "/tmp", "tmpfs", _LOCKED, "mode=700,size=16m")
    os.environ.update(HOME="/home", TMPDIR="/tmp")
    tempfile.tempdir = None


def mount_own(size_bytes: int, covered: list[str]) -> int:
    """Give one run its folders, in its own mount namespace; a descriptor of the workspace.

    All four lie in one file system in memory, so that one number bounds them. covered: shown paths that the
    new folders would hide; they are shown again on top.
    """
    with _shown_again(covered):
        kernel.mount("own", STAGE, "tmpfs", _LOCKED, f"mode=755,size={size_bytes},nr_inodes={MOST_FILES}")
        for name in OWN:
            place = Path(STAGE, name.replace("/", "-"))
            place.mkdir(mode=0o700)
            kernel.mount(str(place), f"/{name}", None, kernel.MS_BIND)
        kernel.umount(STAGE)
    kernel.mount("proc", "/proc", "proc", _LOCKED | kernel.MS_RDONLY)
    return os.open("/workspace", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def covered_by_own(shown: Shown) -> list[str]:
    """Shown paths below the folders that each run gets fresh (a virtual environment in /home, say)."""
    paths = (*shown.paths(), *filter(os.path.exists, shown.links))
    return [path for path in paths if path.startswith(tuple(f"/{name}/" for name in OWN))]
