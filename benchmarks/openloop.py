"""An open-loop load: requests leave when they are due, whatever has become of those before.

A latency counts from when its request was due, so that a server that stops for a moment is
charged with all that would have been sent meanwhile (no coordinated omission). The load is made
by processes of their own (`python -m benchmarks.openloop`), each with a part of the schedule
and kept-alive connections of its own to each tenant.
"""

from __future__ import annotations

import contextlib
import gc
import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from benchmarks.figures import percentile
from benchmarks.peers import SELECT
from tests.running import ROOT

PROCESSES = 2
CONNECTIONS = 8  # of one process to one tenant
LEAD = 0.5
PATIENCE = 10.0


@attrs.frozen
class Schedule:
    """`count` requests at `rate` a second from the time `start`; number 0 is due then."""

    start: float
    rate: float
    count: int

    def due(self, number: int) -> float:
        """Return when a request is due."""
        return self.start + number / self.rate

    def until(self, now: float) -> int:
        """Return how many are due by now, all of them at the end."""
        if now < self.start:
            return 0
        return min(self.count, int((now - self.start) * self.rate + 1e-9) + 1)

    def part(self, index: int, parts: int) -> Schedule:
        """Return the schedule of every `parts`-th request, from number `index` on."""
        count = max(0, -(-(self.count - index) // parts))
        return Schedule(self.due(index), self.rate / parts, count)


@attrs.frozen
class Outcome:
    """What became of requests, each with the time when it was due.

    `answers`: of those answered 200, with the latency in seconds. `failures`: of all others,
    with the reason.
    """

    answers: tuple[tuple[float, float], ...]
    failures: tuple[tuple[float, str], ...]

    def latencies(self) -> list[float]:
        """Return the latencies alone."""
        return [latency for _, latency in self.answers]

    def beyond(self, bound: float) -> list[float]:
        """Return when those were due that took longer than so many seconds."""
        return [due for due, latency in self.answers if latency > bound]

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.answers + other.answers, self.failures + other.failures)


@attrs.frozen
class Loaded:
    """The outcomes by tenant, and how late the generator itself was (p99.9, worst; seconds)."""

    outcomes: dict[str, Outcome]
    late: float
    latest: float


@attrs.define
class Under:
    """A load under way. `start`: when its first request is due, on the monotonic clock."""

    schedule: Schedule
    processes: list[subprocess.Popen[str]]

    @property
    def start(self) -> float:
        """When the first request is due."""
        return self.schedule.start

    def result(self) -> Loaded:
        """Wait for the end and return everything. Raises RuntimeError when a process failed."""
        limit = LEAD + self.schedule.count / self.schedule.rate + PATIENCE + 60
        found = []
        for process in self.processes:
            output, errors = process.communicate(timeout=limit)
            if process.returncode:
                raise RuntimeError(f"open loop: {errors[-500:]}")
            found.append(json.loads(output))
        return merged(found)


def merged(parts: Sequence[dict[str, Any]]) -> Loaded:
    """Return what the processes printed as one outcome."""
    outcomes = {}
    for name in parts[0]["tenants"]:
        of = [part["tenants"][name] for part in parts]
        answers = tuple((due, latency) for one in of for due, latency in one["answers"])
        failures = tuple((due, why) for one in of for due, why in one["failures"])
        outcomes[name] = Outcome(answers, failures)
    late = [value for part in parts for value in part["late"]]
    return Loaded(outcomes, percentile(late, 0.999) if late else 0.0, max(late, default=0.0))


@contextlib.contextmanager
def open_loop(port: int, tokens: dict[str, str], *, rate: float, seconds: float) -> Iterator[Under]:
    """Send selects to a loopback port, by these tenants' tokens in turn, at `rate` in all."""
    processes: list[subprocess.Popen[str]] = []
    try:
        for _ in range(PROCESSES):
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.openloop", str(port)],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            _tell(processes[-1], tokens)
        for process in processes:
            # It is connected, or has ended: then the result is an error.
            assert process.stdout is not None
            process.stdout.readline()
        schedule = Schedule(time.monotonic() + LEAD, rate, int(rate * seconds))
        for index, process in enumerate(processes):
            _tell(process, attrs.asdict(schedule.part(index, PROCESSES)))
        yield Under(schedule, processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _tell(process: subprocess.Popen[str], what: object) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()


class Tenant:
    """One tenant's connections, requests that wait for one, and what became of them."""

    __slots__ = ("answers", "failures", "idle", "question", "waiting")

    def __init__(self, token: str) -> None:
        lines = (f"GET {SELECT} HTTP/1.1", "Host: bench", f"Authorization: Bearer {token}")
        self.question = "".join(f"{line}\r\n" for line in (*lines, "")).encode()
        self.idle: list[Connection] = []
        self.waiting: deque[float] = deque()
        self.answers: list[tuple[float, float]] = []
        self.failures: list[tuple[float, str]] = []


class Connection:
    """A kept-alive connection of a tenant; `due`: of the request that it has, None when idle."""

    __slots__ = ("due", "got", "socket", "tenant")

    def __init__(self, tenant: Tenant, port: int) -> None:
        self.tenant = tenant
        self.due: float | None = None
        self.got = b""
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def ask(self, due: float) -> None:
        """Send a request that was due then; raises OSError when the connection is gone."""
        self.due, self.got = due, b""
        self.socket.send(self.tenant.question)

    def answered(self) -> bool:
        """Take what came; whether the answer is whole. Raises OSError at an early end."""
        piece = self.socket.recv(65_536)
        if not piece:
            raise ConnectionError("ended")
        self.got += piece
        head, blank, body = self.got.partition(b"\r\n\r\n")
        if not blank:
            return False
        low = head.lower()
        at = low.find(b"\r\ncontent-length:")
        if at < 0:
            raise ConnectionError("an answer without a length")
        return len(body) >= int(low[at + 17 :].split(b"\r\n", 1)[0])


class Generator:
    """One process' part of the load."""

    def __init__(self, port: int, tokens: dict[str, str]) -> None:
        """Connect. Raises OSError."""
        self._port = port
        self.tenants = {name: Tenant(token) for name, token in tokens.items()}
        self.late: list[float] = []
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        for tenant in self.tenants.values():
            for _ in range(CONNECTIONS):
                self._connect(tenant)

    def run(self, schedule: Schedule) -> None:
        """Send all of the schedule, and wait for what is on its way."""
        sent = 0
        order = list(self.tenants.values())
        end = schedule.due(schedule.count) + PATIENCE
        while (now := time.monotonic()) < end:
            until = schedule.until(now)
            while sent < until:
                self._send(order[sent % len(order)], schedule.due(sent))
                sent += 1
            pause = schedule.due(sent) - time.monotonic() if sent < schedule.count else 0.05
            if sent == schedule.count and not self._pending():
                break
            for fd, _ in self._epoll.poll(max(0.0, pause)):
                self._take(self._connections[fd])
        for connection in self._connections.values():
            if connection.due is not None:
                connection.tenant.failures.append((connection.due, "no answer"))
            connection.socket.close()
        for tenant in order:
            tenant.failures.extend((due, "never sent") for due in tenant.waiting)
        self._epoll.close()

    def _pending(self) -> bool:
        return any(t.waiting for t in self.tenants.values()) or any(
            connection.due is not None for connection in self._connections.values()
        )

    def _connect(self, tenant: Tenant) -> None:
        connection = Connection(tenant, self._port)
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)
        tenant.idle.append(connection)

    def _send(self, tenant: Tenant, due: float) -> None:
        if not tenant.idle:
            tenant.waiting.append(due)
            return
        self.late.append(time.monotonic() - due)
        self._ask(tenant.idle.pop(), due)

    def _ask(self, connection: Connection, due: float) -> None:
        try:
            connection.ask(due)
        except OSError as error:
            self._failed(connection, f"{type(error).__name__}: {error}")

    def _take(self, connection: Connection) -> None:
        try:
            if not connection.answered():
                return
        except OSError as error:
            self._failed(connection, f"{type(error).__name__}: {error}")
            return
        tenant, due = connection.tenant, connection.due
        connection.due = None
        assert due is not None
        status = connection.got[9:12]
        if status == b"200":
            tenant.answers.append((due, time.monotonic() - due))
        else:
            tenant.failures.append((due, status.decode("latin-1")))
            if b"connection: close" in connection.got.lower():
                self._replace(connection)
                return
        if tenant.waiting:
            self._ask(connection, tenant.waiting.popleft())
        else:
            tenant.idle.append(connection)

    def _failed(self, connection: Connection, why: str) -> None:
        # An idle connection that ends takes no request with it.
        if connection.due is not None:
            connection.tenant.failures.append((connection.due, why))
        else:
            connection.tenant.idle.remove(connection)
        self._replace(connection)

    def _replace(self, connection: Connection) -> None:
        del self._connections[connection.socket.fileno()]
        self._epoll.unregister(connection.socket)
        connection.socket.close()
        tenant = connection.tenant
        self._connect(tenant)
        if tenant.waiting:
            self._ask(tenant.idle.pop(), tenant.waiting.popleft())


def main() -> None:
    """Read tokens and, once connected, the schedule from standard input; print what came of it."""
    generator = Generator(int(sys.argv[1]), json.loads(sys.stdin.readline()))
    print("ready", flush=True)  # noqa: T201
    schedule = Schedule(**json.loads(sys.stdin.readline()))
    # A collection would be a pause of the generator's own.
    gc.disable()
    generator.run(schedule)
    tenants = {
        name: {"answers": tenant.answers, "failures": tenant.failures}
        for name, tenant in generator.tenants.items()
    }
    print(json.dumps({"tenants": tenants, "late": generator.late}))  # noqa: T201


if __name__ == "__main__":
    main()
