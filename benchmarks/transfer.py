"""One large body at a time over a plain socket, either way."""

from __future__ import annotations

import socket
import time

import attrs

from benchmarks.peers import Peer
from benchmarks.sink import PIECE, SIZE

HEAD_LIMIT = 65_536


@attrs.define
class Transfer:
    """A kept-alive connection to a peer before `benchmarks.sink`."""

    peer: Peer
    _socket: socket.socket | None = None

    def get(self) -> float:
        """Take one body of `SIZE`; return bytes a second."""
        return self._timed(b"GET /large HTTP/1.1", memoryview(b""), SIZE)

    def post(self, body: memoryview) -> float:
        """Give a body; return bytes a second."""
        return self._timed(b"POST /large HTTP/1.1", body, None)

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _timed(self, line: bytes, body: memoryview, expected: int | None) -> float:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.peer.port), 60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._socket
        fields = [line, b"Host: bench", b"Authorization: Bearer " + self.peer.token.encode()]
        if body:
            fields.append(b"Content-Length: %d" % len(body))
        try:
            begun = time.perf_counter()
            connection.sendall(b"\r\n".join(fields) + b"\r\n\r\n")
            connection.sendall(body)
            taken = _answer(connection)
            spent = time.perf_counter() - begun
        except BaseException:
            self.close()
            raise
        if expected is not None and taken != expected:
            raise RuntimeError(f"{taken} bytes came, not {expected}")
        return (expected or len(body)) / spent


def _answer(connection: socket.socket) -> int:
    """Read one answer of known length with status 200; return its body's length."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(HEAD_LIMIT)
        if not piece:
            raise RuntimeError(f"ended inside the head: {got[:200]!r}")
        got += piece
    head, _, rest = got.partition(b"\r\n\r\n")
    if b" 200 " not in head[:14]:
        raise RuntimeError(f"not served: {head[:200]!r}")
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    length = next(int(value) for name, _, value in lines if name.lower() == b"content-length")
    left, buffer = length - len(rest), bytearray(PIECE)
    while left > 0:
        taken = connection.recv_into(buffer, min(left, PIECE))
        if not taken:
            raise RuntimeError(f"ended {left} bytes early")
        left -= taken
    return length
