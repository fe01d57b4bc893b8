"""Connections that send at once and hold back, and listeners that run out of descriptors."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from sqsuper.sockets import Connection, Listener, Loop


class Owner:
    def __init__(self) -> None:
        self.data = b""
        self.told: list[str] = []
        self.errors: list[OSError | None] = []

    def received(self, data: bytes) -> None:
        self.data += data

    def ended(self) -> None:
        self.told.append("ended")

    def drained(self) -> None:
        self.told.append("drained")

    def lost(self, error: OSError | None) -> None:
        self.told.append("lost")
        self.errors.append(error)


class Wire:
    """A connection in a loop and the raw socket at its other end."""

    def __init__(self) -> None:
        self.now = 10.0
        self.loop = Loop(clock=lambda: self.now)
        ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.owner = Owner()
        self.connection = Connection(self.loop, ours, self.owner)

    def turns(self, count: int = 5) -> None:
        for _ in range(count):
            self.loop.turn(0)

    def read(self) -> bytes:
        """Read what the peer can have, and what follows from having it."""
        got = b""
        while True:
            try:
                data = self.peer.recv(1 << 20)
            except BlockingIOError:
                before = len(got)
                self.turns(2)
                try:
                    data = self.peer.recv(1 << 20)
                except BlockingIOError:
                    return got
                assert len(got) == before
            if not data:
                return got
            got += data


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.connection.abort()
    wire.peer.close()
    wire.loop.close()


BIG = b"0123456789abcdef" * 200_000


def test_sends_at_once_without_a_turn(wire: Wire) -> None:
    wire.connection.send(b"hello")
    assert wire.peer.recv(100) == b"hello"
    assert wire.connection.pending == 0


def test_the_rest_waits_in_order_and_is_told_when_gone(wire: Wire) -> None:
    wire.connection.send(BIG)
    wire.connection.send(memoryview(b"after"))
    assert 0 < wire.connection.pending < len(BIG) + 5
    assert wire.read() == BIG + b"after"
    assert wire.connection.pending == 0
    assert wire.owner.told == ["drained"]


def test_reads_nothing_while_something_waits_to_be_sent(wire: Wire) -> None:
    wire.connection.send(BIG)
    wire.peer.send(b"more")
    wire.turns()
    assert wire.owner.data == b""
    wire.read()
    wire.turns()
    assert wire.owner.data == b"more"


def test_reads_while_sending_if_asked(wire: Wire) -> None:
    wire.connection.read_while_sending = True
    wire.connection.send(BIG)
    wire.peer.send(b"more")
    wire.turns()
    assert wire.owner.data == b"more"


def test_pause_and_resume(wire: Wire) -> None:
    wire.connection.pause()
    wire.connection.pause()
    wire.peer.send(b"x")
    wire.turns()
    assert wire.owner.data == b""
    wire.connection.resume()
    wire.turns()
    assert wire.owner.data == b"x"


def test_the_peers_end_is_told_once_and_sending_goes_on(wire: Wire) -> None:
    wire.peer.send(b"last")
    wire.peer.shutdown(socket.SHUT_WR)
    wire.turns()
    assert wire.owner.data == b"last"
    assert wire.owner.told == ["ended"]
    wire.connection.send(b"answer")
    assert wire.peer.recv(100) == b"answer"


def test_close_lets_what_waits_go_first(wire: Wire) -> None:
    wire.connection.send(BIG)
    wire.connection.close()
    wire.connection.send(b"ignored")
    assert not wire.connection.closed
    assert wire.read() == BIG
    assert wire.connection.closed
    assert wire.owner.told == ["lost"]
    assert wire.owner.errors == [None]


def test_half_close_lets_what_waits_go_first_and_reads_on(wire: Wire) -> None:
    wire.connection.send(BIG)
    wire.connection.half_close()
    assert wire.read() == BIG
    assert wire.peer.recv(1) == b""
    wire.peer.send(b"still")
    wire.turns()
    assert wire.owner.data == b"still"


def test_abort_is_told_once(wire: Wire) -> None:
    wire.connection.send(BIG)
    wire.connection.abort()
    wire.connection.abort()
    wire.connection.close()
    wire.connection.send(b"x")
    wire.turns()
    assert wire.owner.told == ["lost"]
    assert wire.connection.pending == 0


def test_a_peer_that_is_gone(wire: Wire) -> None:
    wire.peer.close()
    wire.connection.send(b"x")
    assert wire.owner.told == ["lost"]
    assert isinstance(wire.owner.errors[0], OSError)


def test_a_peer_that_goes_while_we_are_paused(wire: Wire) -> None:
    wire.connection.pause()
    wire.peer.close()
    wire.turns()
    assert wire.owner.told == ["lost"]


def test_progress_is_when_the_kernel_last_took_bytes(wire: Wire) -> None:
    wire.connection.send(BIG)
    wire.now = 20.0
    wire.turns()
    assert wire.connection.progress == 10.0
    wire.read()
    assert wire.connection.progress == 20.0


class Flaky(socket.socket):
    """A listening socket whose accept fails when told."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.errors: list[int] = []
        self.bind(("127.0.0.1", 0))
        self.listen()

    def _accept(self) -> tuple[int, object]:
        if self.errors:
            raise OSError(self.errors.pop(0), "of this test")
        return super()._accept()  # type: ignore[misc,no-any-return]


class Door:
    def __init__(self) -> None:
        self.now = 10.0
        self.loop = Loop(clock=lambda: self.now)
        self.flaky = Flaky()
        self.address = self.flaky.getsockname()
        self.accepted: list[socket.socket] = []
        self.exhausted: list[OSError] = []
        self.clients: list[socket.socket] = []
        self.listener = Listener(
            self.loop,
            self.flaky,
            self.accepted.append,
            self.exhausted.append,
        )

    def knock(self, count: int = 1) -> None:
        self.clients.extend(socket.create_connection(self.address) for _ in range(count))

    def close(self) -> None:
        self.listener.close()
        for sock in (*self.accepted, *self.clients):
            sock.close()
        self.loop.close()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


def test_accepts_all_that_wait(door: Door) -> None:
    door.knock(5)
    door.loop.turn(1)
    assert len(door.accepted) == 5
    assert not door.accepted[0].getblocking()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_out_of_descriptors_waits_100_ms(door: Door, code: int) -> None:
    door.flaky.errors = [code]
    door.knock()
    door.loop.turn(1)
    assert door.listener.paused
    door.now += 0.09
    door.loop.turn(0)
    assert door.accepted == []
    door.now += 0.02
    door.loop.turn(0)
    door.loop.turn(1)
    assert len(door.accepted) == 1
    assert len(door.exhausted) == 1


def test_out_of_descriptors_until_one_closes(door: Door) -> None:
    door.flaky.errors = [errno.EMFILE]
    door.knock()
    door.loop.turn(1)
    door.listener.room()
    assert not door.listener.paused
    door.loop.turn(1)
    assert len(door.accepted) == 1


def test_one_lost_connection_is_no_reason_to_wait(door: Door) -> None:
    door.flaky.errors = [errno.ECONNABORTED]
    door.knock()
    door.loop.turn(1)
    assert len(door.accepted) == 1


def test_closed_while_it_waits(door: Door) -> None:
    door.flaky.errors = [errno.EMFILE]
    door.knock()
    door.loop.turn(1)
    door.listener.close()
    door.listener.close()
    door.listener.room()
    door.now += 1
    door.loop.turn(0)
    assert door.accepted == []
