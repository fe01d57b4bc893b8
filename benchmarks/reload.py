"""What a reload costs: until a changed tenant is served, and what other requests wait meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from benchmarks.fleets import QUESTION
from tests.running import Running, eventually, free_port, start

PAUSE = 0.001


def replace(file: Path, text: str) -> None:
    """Put another text in a file's place."""
    part = file.with_name("part")
    part.touch(mode=0o600)
    part.write_text(text)
    os.replace(part, file)


def serves(port: int, token: str) -> bool:
    """Whether a token is admitted now."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(QUESTION % token.encode())
        return connection.recv(4096).startswith(b"HTTP/1.1 200")


def until_served(running: Running, file: Path, token: str) -> float:
    """Give the tenant of a token another one, and return the seconds until that is served."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    other = f"another {token}".replace(" ", "-")
    text = file.read_text().replace(digest, hashlib.sha256(other.encode()).hexdigest())
    replace(file, text)
    begun = time.perf_counter()
    os.kill(running.pid, signal.SIGHUP)
    eventually(lambda: serves(running.port, other), "the new token is served", 30)
    return time.perf_counter() - begun


@contextlib.contextmanager
def asking(port: int, token: str) -> Iterator[list[float]]:
    """Make one request after another; give the milliseconds that each took, as they come."""
    times: list[float] = []
    done = threading.Event()

    def ask() -> None:
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            question = QUESTION % token.encode()
            while not done.is_set():
                begun = time.perf_counter()
                connection.sendall(question)
                if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError("not served")
                times.append((time.perf_counter() - begun) * 1e3)
                time.sleep(PAUSE)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield times
    finally:
        done.set()
        thread.join()


def configuration(port: int, count: int, *, changed: int = -1, queue: int = 128) -> str:
    """Return the text of so many tenants, `t0` and on; their tokens are their names."""
    lines = [
        f'gateway: {{listen: ["tcp:{port}:interface=127.0.0.1"]}}',
        'admin: {listen: ["tcp:0:interface=127.0.0.1"]}',
        f"defaults: {{queue: {queue}}}",
        "tenants:",
    ]
    for number in range(count):
        token = f"t{number}" if number != changed else "changed"
        digest = hashlib.sha256(token.encode()).hexdigest()
        lines.append(f'  t{number}: {{token_sha256: ["{digest}"]}}')
    return "\n".join(lines) + "\n"


@attrs.frozen
class Gap:
    """A reload of many: what one client's requests waited meanwhile (ms), and all of it (s)."""

    what: str
    worst: float
    median: float
    took: float


def gaps(directory: Path, count: int) -> list[Gap]:
    """Measure what one client's requests wait at most while `count` tenants are reloaded.

    The first of them is of the same time without a reload.
    """
    port = free_port()
    file = directory / "tenants.yaml"
    file.touch(mode=0o600)
    file.write_text(configuration(port, count))
    running = start(directory, file, port)
    reloads: dict[str, str] = {
        "one changed": configuration(port, count, changed=5),
        "half removed": configuration(port, count // 2),
        "half added": configuration(port, count),
        "all changed": configuration(port, count, queue=64),
    }
    found = []
    try:
        eventually(running.healthy, "sqsuper answers", 60)
        serves(port, "t0")
        with asking(port, "t0") as times:
            time.sleep(2.0)
            found.append(Gap("no reload", max(times), statistics.median(times), 2.0))
            for what, text in reloads.items():
                mark = len(running.output)
                replace(file, text)
                done: Callable[[], bool] = lambda: "): tenants:" in running.output[mark:]  # noqa: B023, E731
                begun = time.perf_counter()
                times.clear()
                os.kill(running.pid, signal.SIGHUP)
                eventually(done, "it is reloaded", 60)
                took = time.perf_counter() - begun
                found.append(Gap(what, max(times), statistics.median(times), took))
    finally:
        running.close()
    return found
