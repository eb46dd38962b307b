"""What canaries go for: things of the caller's, made for the purpose, and watched from outside."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..runner.processes import names_in

WORDS = b"a secret of the caller's\n"


@dataclass(frozen=True)
class Outside:
    """What the canaries go for. Made before the jail is closed; the descriptors look past it.

    secrets: files that no run should read. folders: path → descriptor of folders of the machine in which no
    run should write. processes: ids of the caller and of the zygote. pid_namespace: in which these ids mean
    something.
    """

    mark: str
    key: int
    secrets: tuple[str, ...]
    secret_fd: int
    folders: dict[str, int]
    listeners: tuple[socket.socket, ...]
    tcp_address: tuple[str, int]
    socket_path: str
    processes: tuple[int, ...]
    pid_namespace: int

    @classmethod
    def make(cls, base: Path) -> Outside:
        """All that is new lies in a folder below `base`, which the caller removes."""
        place = base / "outside"
        place.mkdir(mode=0o711)
        secret = place / "secret"
        secret.write_bytes(WORDS)
        secret.chmod(0o600)
        folders = {}
        temporary = {"/tmp", "/var/tmp", tempfile.gettempdir()}
        for path in sorted({str(place), os.environ.get("HOME", "/"), "/", "/dev/shm"} | temporary):
            with contextlib.suppress(OSError):
                folders[path] = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        key = secrets.randbits(30)
        mark = f"mldebug-canary-{key}"
        tcp, abstract, pathname = (
            socket.socket(family) for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNIX)
        )
        tcp.bind(("127.0.0.1", 0))
        abstract.bind(f"\0{mark}")
        # a socket's name is short, and the path of a temporary folder may not be
        os.chdir(place)
        pathname.bind("socket")
        Path("socket").chmod(0o777)
        os.chdir("/")
        for listener in (tcp, abstract, pathname):
            listener.listen(8)
        return cls(
            mark,
            key,
            (str(secret), str(Path(__file__).parents[2] / "clean_scripts" / "library.py")),
            os.open(secret, os.O_RDONLY | os.O_CLOEXEC),
            folders,
            (tcp, abstract, pathname),
            tcp.getsockname(),
            str(place / "socket"),
            (os.getppid(), os.getpid()),
            Path("/proc/self/ns/pid").stat().st_ino,
        )

    def descriptors(self) -> set[int]:
        """Those that are to be kept when the jail is closed."""
        return {self.secret_fd, *self.folders.values(), *(one.fileno() for one in self.listeners)}

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        for descriptor in (self.secret_fd, *self.folders.values()):
            os.close(descriptor)

    def found_written(self) -> list[str]:
        """Folders of the machine in which a canary left its mark, which is removed."""
        found = []
        for path, descriptor in self.folders.items():
            if self.mark in names_in(descriptor):
                found.append(path)
                with contextlib.suppress(OSError):
                    os.unlink(self.mark, dir_fd=descriptor)
        return found
