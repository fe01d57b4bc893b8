"""Full TLS handshakes, as many as several processes can have: each a new session, one request.

A client's side of a handshake is dearer than the server's, with OpenSSL from C as well, so that
generator and proxy share what CPU there is and the ratio of two rates is nearer to 1 than that
of the CPU times behind them: look at both.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import attrs

from benchmarks.peers import SELECT, Peer
from tests.running import ROOT

PROCESSES = 2
IN_FLIGHT = 8
QUESTION = (
    b"GET %b HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %b\r\nConnection: close\r\n\r\n"
)
SERVED = b"HTTP/1.1 200"
RESET = struct.pack("ii", 1, 0)


@attrs.frozen
class Handshakes:
    """What a flood made of it: full handshakes with an answer, a second; the rest by kind."""

    rate: float
    count: int
    errors: int
    resumed: int
    version: str
    cpu: float


@attrs.define
class Flood:
    """The generator's processes, under way."""

    seconds: float
    processes: list[subprocess.Popen[str]]

    def result(self) -> Handshakes:
        """Wait for the end and return the sum. Raises RuntimeError when a process failed."""
        found = []
        for process in self.processes:
            output, errors = process.communicate(timeout=self.seconds + 60)
            if process.returncode:
                raise RuntimeError(f"handshakes: {errors[-300:]}")
            found.append(json.loads(output))
        count = sum(one["count"] for one in found)
        return Handshakes(
            count / self.seconds,
            count,
            sum(one["errors"] for one in found),
            sum(one["resumed"] for one in found),
            found[0]["version"],
            sum(one["cpu"] for one in found),
        )


@contextlib.contextmanager
def flood(peer: Peer, seconds: float) -> Iterator[Flood]:
    """Make handshakes with a peer, 16 at a time, under way when the block begins.

    The generator has ended when the block has.
    """
    command = [sys.executable, "-m", "benchmarks.handshakes"]
    command += [str(peer.port), str(seconds), peer.token]
    processes = []
    try:
        for _ in range(PROCESSES):
            processes.append(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield Flood(seconds, processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


class Client:
    """One connection: handshake, request, answer to its end."""

    __slots__ = ("answer", "question", "socket", "step")

    def __init__(self, port: int, context: ssl.SSLContext, question: bytes) -> None:
        plain = socket.create_connection(("127.0.0.1", port), 10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # No port may stay in TIME_WAIT: there are thousands a second.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        plain.setblocking(False)
        self.socket = context.wrap_socket(plain, do_handshake_on_connect=False)
        self.answer = b""
        self.question = question
        self.step = self._shake

    def _shake(self) -> bool:
        self.socket.do_handshake()
        self.socket.sendall(self.question)
        self.step = self._read
        return self._read()

    def _read(self) -> bool:
        while piece := self.socket.recv(4096):
            self.answer += piece
        return True


def generate(port: int, seconds: float, token: str) -> dict[str, object]:
    """Make handshakes with a loopback port for so long; return the counts."""
    question = QUESTION % (SELECT.encode(), token.encode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    chooser = selectors.DefaultSelector()
    count = errors = resumed = 0
    version = ""

    def begin() -> None:
        client = Client(port, context, question)
        chooser.register(client.socket, selectors.EVENT_READ, client)
        advance(client)

    def advance(client: Client) -> None:
        nonlocal count, errors, resumed, version
        try:
            whole = client.step() and client.answer.startswith(SERVED)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            # nginx ends without close_notify; the answer was whole, or was not.
            whole = client.answer.startswith(SERVED)
        if whole:
            count += 1
            resumed += bool(client.socket.session_reused)
            version = client.socket.version() or version
        else:
            errors += 1
        chooser.unregister(client.socket)
        client.socket.close()

    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        while len(chooser.get_map()) < IN_FLIGHT:
            begin()
        for key, _ in chooser.select(min(1.0, end - now)):
            advance(key.data)
    for key in list(chooser.get_map().values()):
        key.data.socket.close()
    chooser.close()
    spent = os.times()
    return {
        "count": count,
        "errors": errors,
        "resumed": resumed,
        "version": version,
        "cpu": spent.user + spent.system,
    }


if __name__ == "__main__":
    print("ready", flush=True)  # noqa: T201
    print(json.dumps(generate(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])))  # noqa: T201
