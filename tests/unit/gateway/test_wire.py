"""The contract of `Wire`: a transport's, an own socket's and their double's, by the same tests."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.selectreactor import SelectReactor

from sqsuper.gateway.nest import Nest, possible
from sqsuper.gateway.nested import NestedWire
from sqsuper.gateway.transports import TransportWire
from sqsuper.testing import FakeWire


@attrs.define
class User:
    told: list[Any] = attrs.field(factory=list)

    def received(self, data: bytes) -> None:
        self.told.append(data)

    def drained(self) -> None:
        self.told.append("drained")

    def ended(self) -> None:
        self.told.append("ended")

    def lost(self) -> None:
        self.told.append("lost")


class Fake:
    """A `FakeWire` and what its peer does."""

    def __init__(self) -> None:
        self.user = User()
        self.wire: Any = FakeWire(self.user)

    def settle(self, condition: Callable[[], bool]) -> None:
        self.wire.settle()
        assert condition()

    def send(self, data: bytes) -> None:
        self.wire.peer_gone = True  # there is something that was not read
        if not self.wire.paused:
            self.wire.peer_gone = False
            self.wire.receive(data)

    def finish(self) -> None:
        self.wire.end()

    def go(self) -> None:
        self.wire.lose()

    def hold(self, held: bool) -> None:
        self.wire.stuck = held

    def take(self, count: int) -> bytes:
        self.wire.settle()
        taken = bytes(self.wire.sent[:count])
        del self.wire.sent[:count]
        return taken

    def close(self) -> None:
        pass


class Real:
    """A `TransportWire` over loopback TCP, in a reactor that is turned by hand."""

    def __init__(self) -> None:
        self.user = User()
        self.wire: Any = None
        self.reactor: Any = SelectReactor()
        self.reactor.startRunning(installSignalHandlers=False)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.peer = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        accepted.setblocking(False)
        self.peer.settimeout(10)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.held = False
        self.adopt(accepted)

    def adopt(self, accepted: socket.socket) -> None:
        self.reactor.adoptStreamConnection(accepted.fileno(), socket.AF_INET, self)
        accepted.close()

    # Factory
    def buildProtocol(self, _: object) -> TransportWire:
        self.wire = TransportWire(lambda _: self.user)
        return self.wire  # type: ignore[no-any-return]

    def turn(self) -> None:
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(0.01)

    def settle(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            if not self.held:
                self._empty()
            self.turn()
            assert time.monotonic() < deadline

    def _empty(self) -> None:
        """Take what the kernel holds for the peer, as long as nobody asks for it."""
        if self.user.told and "drained" not in self.user.told and self.wire.pending:
            self.peer.recv(1 << 20)

    def send(self, data: bytes) -> None:
        self.peer.sendall(data)
        for _ in range(5):
            self.turn()

    def finish(self) -> None:
        self.peer.shutdown(socket.SHUT_WR)

    def go(self) -> None:
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.peer.close()

    def hold(self, held: bool) -> None:
        self.held = held

    def take(self, count: int) -> bytes:
        taken = b""
        deadline = time.monotonic() + 10
        self.peer.setblocking(False)
        while len(taken) < count:
            self.turn()
            try:
                data = self.peer.recv(count - len(taken))
            except BlockingIOError:
                assert time.monotonic() < deadline
                continue
            if not data:
                break
            taken += data
        return taken

    def close(self) -> None:
        self.peer.close()
        if "lost" not in self.user.told:
            self.wire.abort()
            self.settle(lambda: "lost" in self.user.told)
        self.reactor.disconnectAll()
        for reader in self.reactor.removeAll():
            reader.connectionLost(None)


class Nested(Real):
    """A `NestedWire`, likewise."""

    def adopt(self, accepted: socket.socket) -> None:
        self.nest = Nest(self.reactor)
        self.wire = NestedWire(self.nest, accepted)
        self.wire.begin(self.user)

    def close(self) -> None:
        super().close()
        self.nest.close()


@pytest.fixture(
    params=[
        Fake,
        Real,
        pytest.param(
            Nested, marks=pytest.mark.skipif(not possible(SelectReactor()), reason="no epoll here")
        ),
    ],
    ids=["double", "transport", "nested"],
)
def end(request: pytest.FixtureRequest) -> Iterator[Any]:
    one = request.param()
    yield one
    one.close()


def test_bytes_come_and_go(end: Any) -> None:
    end.send(b"abc")
    end.settle(lambda: end.user.told == [b"abc"])
    assert end.wire.send(b"def") is True
    assert end.take(3) == b"def"
    assert end.wire.pending == 0


def test_back_pressure(end: Any) -> None:
    end.hold(True)
    sent = 0
    while end.wire.send(b"x" * 50_000):
        sent += 50_000
        assert sent < 200_000
    sent += 50_000
    assert 65_536 < end.wire.pending <= sent
    assert end.user.told == []  # never from within send
    end.hold(False)
    assert end.take(sent) == b"x" * sent
    end.settle(lambda: end.user.told == ["drained"])
    assert end.wire.pending == 0


def test_nothing_is_read_while_paused(end: Any) -> None:
    end.wire.pause()
    end.wire.pause()
    end.send(b"abc")
    assert end.user.told == []
    assert not end.wire.alive()
    end.wire.resume()
    end.wire.resume()
    end.send(b"def")
    end.settle(lambda: bool(end.user.told))
    assert b"".join(end.user.told).endswith(b"def")
    assert end.wire.alive()


def test_a_half_close_leaves_the_other_direction(end: Any) -> None:
    end.wire.send(b"abc")
    end.wire.finish()
    end.settle(lambda: end.user.told == ["drained"])
    assert end.take(10) == b"abc" if isinstance(end, Real) else end.take(3) == b"abc"
    end.send(b"def")
    end.settle(lambda: end.user.told == ["drained", b"def"])
    end.finish()
    end.settle(lambda: end.user.told == ["drained", b"def", "ended"])
    end.wire.close()
    end.settle(lambda: end.user.told[-1] == "lost")


@pytest.mark.parametrize("before", [b"", b"def"])
def test_a_last_piece_goes_with_our_end(end: Any, before: bytes) -> None:
    if before:
        end.wire.send(before)
    end.wire.send_last(b"abc")
    end.settle(lambda: end.user.told == ["drained"])
    end.wire.send(b"too late")
    whole = before + b"abc"
    # One byte more than there is, where the end is to be seen.
    assert end.take(len(whole) + isinstance(end, Real)) == whole
    end.send(b"ghi")
    end.settle(lambda: end.user.told == ["drained", b"ghi"])
    end.wire.close()
    end.settle(lambda: end.user.told[-1] == "lost")


@pytest.mark.parametrize("waits", [False, True])
def test_a_last_piece_may_wait(end: Any, waits: bool) -> None:
    end.hold(True)
    count = 300_000
    if waits:
        end.wire.send(b"x" * count)
        count *= 2
    end.wire.send_last(b"x" * 300_000)
    assert end.user.told == []
    end.hold(False)
    more = count + isinstance(end, Real)
    assert len(end.take(more)) == count
    end.settle(lambda: end.user.told == ["drained"])


def test_a_last_piece_to_who_is_gone(end: Any) -> None:
    end.go()
    end.wire.send_last(b"abc")
    end.settle(lambda: "lost" in end.user.told)


def test_the_peers_half_close_leaves_ours(end: Any) -> None:
    end.finish()
    end.settle(lambda: end.user.told == ["ended"])
    end.wire.pause()
    end.wire.resume()
    end.wire.send(b"abc")
    assert end.take(3) == b"abc"
    end.wire.close()
    end.settle(lambda: end.user.told == ["ended", "lost"])


def test_closing_sends_what_waits_first(end: Any) -> None:
    end.hold(True)
    end.wire.send(b"x" * 60_000)
    end.wire.close()
    end.hold(False)
    assert end.take(60_000) == b"x" * 60_000
    end.settle(lambda: end.user.told == ["lost"])


@pytest.mark.parametrize("count", [3, 60_000])
def test_a_discarded_wire_sends_what_waits_and_tells_nothing(end: Any, count: int) -> None:
    end.hold(True)
    end.wire.send(b"x" * count)
    end.wire.discard()
    end.hold(False)
    more = count + isinstance(end, Real)  # there is an end to be read
    assert end.take(more) == b"x" * count
    assert end.user.told == []
    assert not end.wire.alive()
    end.user.told.append("lost")  # for the fixture, which would wait for it


@pytest.mark.parametrize("first", ["nothing", "close", "finish"])
def test_abort_is_at_once_also_after_closing(end: Any, first: str) -> None:
    end.hold(True)
    end.wire.send(b"x" * 10_000_000)
    if first != "nothing":
        getattr(end.wire, first)()
    end.wire.abort()
    end.wire.abort()
    end.settle(lambda: end.user.told == ["lost"])


def test_a_peer_that_resets_is_lost(end: Any) -> None:
    assert end.wire.alive()
    end.go()
    end.settle(lambda: end.user.told[-1:] == ["lost"])
    assert not end.wire.alive()
