"""Messages between the caller and a zygote: a length, JSON, and descriptors beside it."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

HEADER = struct.Struct("!I")
LARGEST_MESSAGE = 1 << 20
"""Bytes. Orders and replies hold names, numbers and arguments only; a run's output travels as descriptors."""
MOST_DESCRIPTORS = 4
FAILED = b"failed: "
"""How the record begins when the child's own code failed after the script had ended; no JSON begins so."""
LONGEST_FAILURE = 2000
"""Bytes of such a report."""


class ProtocolError(Exception):
    """The other side closed the socket or sent something that is not a message."""


def send(sock: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message; the descriptors stay open here and arrive as copies.

    Raises:
        ProtocolError: the message is too large.
        OSError: the other side is gone.
    """
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(body) > LARGEST_MESSAGE:
        raise ProtocolError(f"a message of {len(body)} bytes is larger than {LARGEST_MESSAGE}")
    if descriptors:
        socket.send_fds(sock, [HEADER.pack(len(body))], list(descriptors))
        sock.sendall(body)
    else:
        sock.sendall(HEADER.pack(len(body)) + body)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message and the descriptors that came with it, which the caller has to close.

    Raises:
        ProtocolError: end of stream, a message that is too large, or not a JSON object.
        TimeoutError: the socket's timeout passed.
    """
    descriptors: list[int] = []
    try:
        head, descriptors, _flags, _address = socket.recv_fds(
            sock, HEADER.size, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if len(head) < HEADER.size:
            head += _exactly(sock, HEADER.size - len(head)) if head else b""
        if not head:
            raise ProtocolError("the other side closed the connection")
        (length,) = HEADER.unpack(head)
        if length > LARGEST_MESSAGE:
            raise ProtocolError(f"a message of {length} bytes is announced; {LARGEST_MESSAGE} are allowed")
        message = json.loads(_exactly(sock, length))
        if not isinstance(message, dict):
            raise ProtocolError("a message is not a JSON object")
    except BaseException as error:
        for descriptor in descriptors:
            os.close(descriptor)
        if isinstance(error, ValueError):
            raise ProtocolError(f"a message is not JSON: {error}") from None
        raise
    return message, descriptors


def _exactly(sock: socket.socket, count: int) -> bytes:
    pieces = []
    while count:
        piece = sock.recv(min(count, 1 << 16))
        if not piece:
            raise ProtocolError("the other side closed the connection within a message")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
