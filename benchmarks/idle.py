"""Many connections that were used once and then only stay."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
from collections.abc import Iterator

from benchmarks.peers import Peer

RESET = struct.pack("ii", 1, 0)
AT_ONCE = 200


@contextlib.contextmanager
def idle_connections(peer: Peer, count: int) -> Iterator[None]:
    """Hold so many kept-alive connections, each after one answer with a status below 300.

    They end by resets, so that no thousands of ports stay in TIME_WAIT. Raises RuntimeError when
    one is not served, or was ended before the block was.
    """
    context = _context() if peer.scheme == "https" else None
    question = b"OPTIONS / HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %b\r\n\r\n"
    question %= peer.token.encode()
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            opened: list[socket.socket] = []
            for _ in range(min(AT_ONCE, count - len(held))):
                connection = socket.create_connection(("127.0.0.1", peer.port), 30)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                held.append(connection)
                if context is not None:
                    connection = held[-1] = context.wrap_socket(connection)
                connection.sendall(question)
                opened.append(connection)
            for connection in opened:
                if (answer := connection.recv(4096))[9:10] != b"2":
                    raise RuntimeError(f"not served: {answer[:100]!r}")
        yield
        if ended := _ended(held):
            raise RuntimeError(f"{ended} of {count} idle connections were ended")
    finally:
        for connection in held:
            connection.close()


def _ended(held: list[socket.socket]) -> int:
    with selectors.DefaultSelector() as chooser:
        for connection in held:
            chooser.register(connection, selectors.EVENT_READ)
        return len(chooser.select(0))


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
