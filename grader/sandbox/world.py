"""What attacks go for: a secret, listeners, a victim, folders of the machine; and whether they got it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
from pathlib import Path
from types import TracebackType

SECRET = "the answer key"


class World:
    """A context in which attacks are tried. Everything that a successful one could harm is made for it."""

    def __enter__(self) -> World:
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mldebug-world-")))
        self.folder.chmod(0o777)
        self.secret = self.folder / "secret"
        self.victim = os.fork()
        if self.victim == 0:
            with contextlib.suppress(BaseException):
                while True:
                    signal.pause()
            os._exit(0)
        self._stack.callback(self._end_victim)
        self.tcp = self._listen(socket.AF_INET, ("127.0.0.1", 0))
        self.abstract = self._listen(socket.AF_UNIX, f"\0{self.folder.name}")
        self.pathname = self._listen(socket.AF_UNIX, str(self.folder / "socket"))
        (self.folder / "socket").chmod(0o777)
        self.udp = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", 0))
        self.udp.setblocking(False)
        self.renew()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _listen(self, family: int, address: object) -> socket.socket:
        listener = self._stack.enter_context(socket.socket(family))
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(64)
        listener.setblocking(False)
        return listener

    def _end_victim(self) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.victim, signal.SIGKILL)
            os.waitpid(self.victim, 0)

    def renew(self) -> None:
        """As it was at first, but for the victim."""
        for name in ("written", "lock"):
            (self.folder / name).unlink(missing_ok=True)
        self.secret.write_text(SECRET)
        self.secret.chmod(0o644)
        os.utime(self.secret, (1, 1))

    def facts(self) -> str:
        """What a script is told of it, as its first line: names and values."""
        values = {
            "SECRET": str(self.secret),
            "FOLDER": str(self.folder),
            "VICTIM": self.victim,
            "CALLER": os.getpid(),
            "PORT": self.tcp.getsockname()[1],
            "UDP": self.udp.getsockname()[1],
            "ABSTRACT": f"\0{self.folder.name}",
            "PATHNAME": str(self.folder / "socket"),
            "PACKAGE": str(Path(__file__).parents[2]),
        }
        return "; ".join(f"{name} = {value!r}" for name, value in values.items()) + "\n"

    def harm(self) -> str:
        """What was done to it since `renew`; empty for nothing."""
        for listener in (self.tcp, self.abstract, self.pathname):
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                return "a listener was reached"
        with contextlib.suppress(BlockingIOError):
            self.udp.recv(100)
            return "a datagram came"
        if os.waitpid(self.victim, os.WNOHANG)[0]:
            self.victim = os.fork()
            if self.victim == 0:
                while True:
                    signal.pause()
            return "the victim was killed"
        facts = self.secret.stat()
        if self.secret.read_text() != SECRET or facts.st_mode & 0o777 != 0o644 or facts.st_mtime != 1:
            return "the secret's content, mode or times were changed"
        if (self.folder / "written").exists():
            return "a file was written outside"
        if os.getxattr(self.secret, "user.x") if "user.x" in os.listxattr(self.secret) else b"":
            os.removexattr(self.secret, "user.x")
            return "an attribute was set outside"
        if self._is_locked():
            return "a process survived and holds a lock"
        return ""

    def _is_locked(self) -> bool:
        import fcntl

        place = self.folder / "lock"
        if not place.exists():
            return False
        with place.open() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False
