"""The contract of `Connector`: the reactor's and its double's, by the same tests."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.selectreactor import SelectReactor

from sqsuper.gateway.transports import TransportConnector
from sqsuper.gateway.wire import Connector, Wire
from sqsuper.instances import Upstream
from sqsuper.testing import FakeConnector
from tests.running import free_port
from tests.unit.gateway.test_wire import User


class Fake:
    """Decides as the kernel would: by what stands at the address."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fake = FakeConnector()
        self.connector: Connector = self.fake
        self.listening: set[str | int] = set()
        self.full: set[str | int] = set()

    def listener(self, path: str | None = None, *, full: bool = False) -> Upstream:
        upstream = Upstream("alice", 1, "KEY", path=path, port=7 if path is None else 0)
        self.listening.add(path or 7)
        if full:
            self.full.add(path or 7)
        return upstream

    def settle(self, condition: Callable[[], Any]) -> None:
        for attempt in self.fake.undecided():
            where = attempt.upstream.path or attempt.upstream.port
            if where in self.listening and where not in self.full:
                attempt.succeed()
            else:
                attempt.fail(busy=where in self.full)
        assert condition()

    def close(self) -> None:
        pass


class Real:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.reactor: Any = SelectReactor()
        self.reactor.startRunning(installSignalHandlers=False)
        self.connector: Connector = TransportConnector(self.reactor)
        self.sockets: list[socket.socket] = []

    def listener(self, path: str | None = None, *, full: bool = False) -> Upstream:
        if path is None:
            sock = socket.create_server(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            sock.listen(0)
            port = 0
        self.sockets.append(sock)
        if full:
            filler = socket.socket(socket.AF_UNIX)
            filler.connect(path or "")
            self.sockets.append(filler)
        return Upstream("alice", 1, "KEY", path=path, port=port)

    def settle(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 10
        for _ in range(3):
            self.reactor.runUntilCurrent()
            self.reactor.doIteration(0.01)
        while not condition():
            self.reactor.runUntilCurrent()
            self.reactor.doIteration(0.01)
            assert time.monotonic() < deadline

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        for selectable in self.reactor.removeAll():
            if hasattr(selectable, "abortConnection"):
                selectable.abortConnection()
        self.reactor.runUntilCurrent()
        self.reactor.disconnectAll()


class Outcomes:
    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.users: list[User] = []
        self.failures: list[bool] = []

    def connected(self, wire: Wire) -> User:
        self.wires.append(wire)
        self.users.append(User())
        return self.users[-1]


@pytest.fixture(params=[Fake, Real], ids=["double", "transport"])
def end(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[Any]:
    one = request.param(short_dir)
    yield one
    one.close()


def connect(end: Any, upstream: Upstream) -> tuple[Outcomes, Callable[[], None]]:
    outcomes = Outcomes()
    cancel = end.connector.connect(upstream, outcomes.connected, outcomes.failures.append)
    return outcomes, cancel


@pytest.mark.parametrize("unix", [False, True])
def test_a_connection_comes_about(end: Any, unix: bool) -> None:
    upstream = end.listener(str(end.directory / "s") if unix else None)
    outcomes, cancel = connect(end, upstream)
    end.settle(lambda: outcomes.wires)
    cancel()  # harmless by now
    cancel()
    end.settle(lambda: True)
    assert (len(outcomes.wires), outcomes.failures) == (1, [])
    assert outcomes.wires[0].alive()
    assert outcomes.users[0].told == []


@pytest.mark.parametrize("unix", [False, True])
def test_a_connection_is_refused(end: Any, unix: bool) -> None:
    if unix:
        upstream = Upstream("alice", 1, "KEY", path=str(end.directory / "none"))
    else:
        upstream = Upstream("alice", 1, "KEY", port=free_port())
    outcomes, cancel = connect(end, upstream)
    end.settle(lambda: outcomes.failures)
    cancel()
    assert (outcomes.wires, outcomes.failures) == ([], [False])


def test_a_full_backlog_is_told_from_a_refusal(end: Any) -> None:
    upstream = end.listener(str(end.directory / "s"), full=True)
    outcomes, _ = connect(end, upstream)
    end.settle(lambda: outcomes.failures)
    assert (outcomes.wires, outcomes.failures) == ([], [True])


@pytest.mark.parametrize("refused", [False, True])
def test_a_cancelled_attempt_tells_nothing(end: Any, refused: bool) -> None:
    upstream = Upstream("alice", 1, "KEY", port=free_port()) if refused else end.listener()
    outcomes, cancel = connect(end, upstream)
    cancel()
    cancel()
    end.settle(lambda: True)
    assert (outcomes.wires, outcomes.failures) == ([], [])
