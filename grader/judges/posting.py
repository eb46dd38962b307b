"""One POST to a chat-completions endpoint, within a deadline that holds for all of it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONNECTIONS = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}


class PostFailed(Exception):
    """There is no reply. The message is made of our own words, numbers and the name of an exception only:
    never the key, the address, a header, or anything the other side said, which an exception may quote.

    may_pass: whether another try may do better.
    """

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


@dataclass(frozen=True)
class Reply:
    """What came back, whatever its status. retry_after: that header, as it was."""

    status: int
    content: bytes
    retry_after: str | None = None


@dataclass(frozen=True)
class Target:
    """Where a request goes.

    base_url: `https://host/v1`; `/chat/completions` is added. Redirects are not followed, so the key goes
        nowhere else; a proxy from the environment is not used.
    timeout: seconds for everything: name lookup, connection, and the last byte.
    largest: bytes of a reply that are read; a longer one is a failure.
    """

    base_url: str = field(repr=False)
    api_key: str | None = field(repr=False)
    timeout: float
    largest: int

    def post(self, body: bytes) -> Reply:
        """Send JSON, and wait for the reply.

        Raises:
            PostFailed: there is none in time, or it is too large.
        """
        call = _Call(self, body)
        call.start()
        call.join(self.timeout)
        if call.is_alive():
            call.abandon()
            raise self.late()
        if call.failure is not None:
            raise call.failure
        assert call.reply is not None
        return call.reply

    def late(self) -> PostFailed:
        return PostFailed(f"no answer within {self.timeout:g} s", may_pass=True)


class _Call(threading.Thread):
    """The request itself. A thread of its own, because a lookup or a server that sends one byte at a time
    would outlast any time-out that a socket knows."""

    def __init__(self, target: Target, body: bytes) -> None:
        super().__init__(name="mldebug-endpoint", daemon=True)
        self._target = target
        self._body = body
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._abandoned = False
        self.reply: Reply | None = None
        self.failure: PostFailed | None = None

    def run(self) -> None:
        try:
            self._post()
        except PostFailed as error:
            self.failure = error
        except TimeoutError:
            self.failure = self._target.late()
        except Exception as error:
            may_pass = isinstance(error, OSError | http.client.HTTPException)
            self.failure = PostFailed(f"it could not be asked ({type(error).__name__})", may_pass=may_pass)

    def _post(self) -> None:
        target, address = self._target, urlsplit(self._target.base_url)
        if address.scheme not in CONNECTIONS or not address.hostname:
            raise PostFailed("its URL is not one of the form http(s)://host[:port]/path", may_pass=False)
        connection = CONNECTIONS[address.scheme](address.hostname, address.port, timeout=target.timeout)
        try:
            connection.connect()
            with self._lock:
                self._socket = connection.sock
                if self._abandoned:
                    raise target.late()
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            if target.api_key is not None:
                headers["Authorization"] = f"Bearer {target.api_key}"
            path = f"{address.path.rstrip('/')}/chat/completions"
            connection.request(
                "POST", f"{path}?{address.query}" if address.query else path, self._body, headers
            )
            response = connection.getresponse()
            content = response.read(target.largest + 1)
            if len(content) > target.largest:
                raise PostFailed(f"an answer of more than {target.largest} bytes", may_pass=True)
            self.reply = Reply(response.status, content, response.getheader("Retry-After"))
        finally:
            connection.close()

    def abandon(self) -> None:
        """End the thread: whatever it waits for on its socket fails at once."""
        with self._lock:
            self._abandoned = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
