"""What is TLS's own in a wire: handshakes, the ends of a stream, and who speaks no TLS."""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import CannotListenError
from twisted.internet.selectreactor import SelectReactor

from sqsuper.gateway import handshakes
from sqsuper.gateway.handshakes import Handshakes
from sqsuper.gateway.listening import Listening
from sqsuper.gateway.nest import possible
from sqsuper.gateway.nested import HIGH_WATER
from sqsuper.gateway.tls import RECORD_BYTES
from tests.tls_support import Made, TlsSocket, client_context, make, wrap
from tests.unit.gateway.test_wires import LOOPBACK, User, World

pytestmark = pytest.mark.skipif(not possible(SelectReactor()), reason="no epoll here")

RESET = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def world(made: Made) -> Iterator[World]:
    one = World(nest=True, tls=made)
    yield one
    one.close()


def connect(world: World, listener: Listening) -> tuple[socket.socket, User]:
    """Return a plain connection to a TLS port, and the user at the other end."""
    address: Any = listener.address()
    known = len(world.users)
    sock = socket.create_connection((address.host, address.port), timeout=10)
    world.sockets.append(sock)
    world.until(lambda: len(world.users) > known)
    return sock, world.users[-1]


def shake(world: World, sock: TlsSocket) -> TlsSocket:
    """Take the client's handshake to its end."""
    world.sockets.append(sock)
    sock.setblocking(False)

    def done() -> bool:
        with suppress(ssl.SSLWantReadError):
            sock.do_handshake()
            return True
        return False

    world.until(done)
    world.turn(3)
    sock.settimeout(10)
    return sock


def read_all(world: World, sock: socket.socket) -> bytes:
    """Turn, and read to the end of the stream."""
    got = b""
    sock.setblocking(False)
    deadline = time.monotonic() + 10
    while True:
        world.turn()
        assert time.monotonic() < deadline
        with suppress(BlockingIOError):
            data = sock.recv(65_536)
            if not data:
                return got
            got += data


# Handshakes


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handshake_and_its_resumption(world: World, made: Made, version: ssl.TLSVersion) -> None:
    listener = world.listen()
    context = client_context(made)
    context.minimum_version = context.maximum_version = version
    session = None
    for resumed in (False, True):
        sock, user = connect(world, listener)
        tls = context.wrap_socket(
            sock, server_hostname="localhost", do_handshake_on_connect=False, session=session
        )
        assert isinstance(tls, TlsSocket)
        shake(world, tls)
        user.wire.send(b"abc")
        assert tls.recv(10) == b"abc"
        assert (tls.version(), tls.session_reused) == (version.name.replace("_", "."), resumed)
        session = tls.session
        tls.notify()
        world.until(lambda user=user: "ended" in user.told)  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_other_keys(world: World, tmp_path: Path, kind: str) -> None:
    world.tls = make(tmp_path, kind=kind)
    client, user = world.client(world.listen())
    client.sendall(b"abc")
    world.until(lambda: user.got == b"abc")


def test_a_client_of_old_is_refused(world: World) -> None:
    listener = world.listen()
    sock, user = connect(world, listener)
    # A client hello of TLS 1.1, which OpenSSL would not even send any more.
    body = b"\x03\x02" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x13" + b"\x01\x00"
    hello = b"\x01" + len(body).to_bytes(3, "big") + body
    sock.sendall(b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
    world.until(lambda: user.told == ["lost"])
    assert sock.recv(100)[:1] == b"\x15"  # an alert
    world.client(listener)


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_handshake_in_pieces(world: World, pieces: int) -> None:
    sock, user = connect(world, world.listen())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing)
    sock.setblocking(False)
    deadline = time.monotonic() + 20
    while True:
        assert time.monotonic() < deadline
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
        data = outgoing.read()
        for at in range(0, len(data), pieces):
            sock.sendall(data[at : at + pieces])
            world.turn()
        with suppress(BlockingIOError):
            incoming.write(sock.recv(65_536))
    tls.write(b"abc")
    data = outgoing.read()
    for at in range(0, len(data), pieces):
        sock.sendall(data[at : at + pieces])
        world.turn()
    world.until(lambda: user.got == b"abc")


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
@pytest.mark.parametrize("how", ["close", "reset", "our close", "our finish", "our abort"])
def test_an_end_before_the_handshake_is_over(world: World, sent: bytes, how: str) -> None:
    sock, user = connect(world, world.listen())
    sock.sendall(sent)
    world.turn(3)
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    if how in ("reset", "close"):
        sock.close()
    else:
        getattr(user.wire, how.split()[1])()
    world.until(lambda: user.told == ["lost"])
    assert not user.wire.alive()


def test_what_is_sent_before_the_handshake_waits_for_it(world: World) -> None:
    sock, user = connect(world, world.listen())
    assert user.wire.send(b"abc")
    assert user.wire.pending == 3
    tls = shake(world, wrap(sock))
    world.until(lambda: user.wire.pending == 0)
    assert tls.recv(10) == b"abc"


def test_who_is_turned_away_learns_why(world: World) -> None:
    """Also when more was sent that nobody reads."""
    sock, user = connect(world, world.listen())
    user.wire.send(b"503")
    user.wire.close()
    tls = shake(world, wrap(sock))
    tls.sendall(b"x" * 100_000)
    assert read_all(world, tls) == b"503"
    tls.close()
    world.until(lambda: user.told == ["lost"])


def test_not_too_many_wait_to_be_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "MAX_FAREWELLS", 2)
    listener = world.listen()
    users = []
    for _ in range(3):
        _sock, user = connect(world, listener)
        user.wire.send(b"503")
        user.wire.close()
        users.append(user)
    world.until(lambda: users[2].told == ["lost"])
    assert users[0].told == users[1].told == []
    users[0].wire.abort()
    world.until(lambda: users[0].told == ["lost"])
    _sock, user = connect(world, listener)
    user.wire.send(b"503")
    user.wire.close()
    world.turn(3)
    assert user.told == []


class Stepping:
    """A connection that takes `left` steps of `seconds` each."""

    def __init__(self, line: Handshakes, clock: list[float], left: int, seconds: float) -> None:
        self.line, self.clock, self.left, self.seconds = line, clock, left, seconds

    def step_handshake(self) -> None:
        self.clock[0] += self.seconds
        self.left -= 1
        if self.left:
            self.line.line_up(self)

    def abort(self) -> None:
        self.left = -1


class Turns:
    """A nest whose turns are made by hand."""

    def __init__(self) -> None:
        self.work: Callable[[int], bool] | None = None

    def between_turns(self, work: Callable[[int], bool]) -> None:
        self.work = work

    def turn(self, events: int = 0) -> None:
        if self.work is not None and not self.work(events):
            self.work = None


@pytest.mark.parametrize(("seconds", "a_turn"), [(0.001, 1), (0.0005, 2), (0.0, 4)])
def test_a_turn_takes_few_steps_of_a_flood(seconds: float, a_turn: int) -> None:
    turns, clock = Turns(), [0.0]
    line = Handshakes(turns, lambda: clock[0])  # type: ignore[arg-type]
    flood = [Stepping(line, clock, 2, seconds) for _ in range(20)]
    for one in flood:
        line.line_up(one)
    left = 40
    while left:
        turns.turn()
        now = sum(one.left for one in flood)
        assert left - now == a_turn
        left = now
    assert turns.work is None


def test_those_who_are_connected_come_first_and_the_line_moves_all_the_same() -> None:
    turns, clock = Turns(), [0.0]
    line = Handshakes(turns, lambda: clock[0])  # type: ignore[arg-type]
    flood = [Stepping(line, clock, 1, 0.001) for _ in range(4)]
    for one in flood:
        line.line_up(one)
    left = []
    # The flood's own four events leave nothing to wait for; then others always have something.
    for events in (4, 1, 1, 1, 1, 1, 0, 1, 1, 1):
        turns.turn(events)
        left.append(sum(one.left for one in flood))
    assert left == [3, 3, 3, 2, 2, 2, 1, 1, 1, 0]
    assert turns.work is None


@given(events=st.lists(st.integers(0, 3), min_size=1, max_size=30), seconds=st.floats(0, 0.001))
def test_whatever_comes_the_line_moves_and_holds_up_little(
    events: list[int], seconds: float
) -> None:
    turns, clock = Turns(), [0.0]
    line = Handshakes(turns, lambda: clock[0])  # type: ignore[arg-type]
    flood = [Stepping(line, clock, 1, seconds) for _ in range(200)]
    for one in flood:
        line.line_up(one)
    turns.turn(len(flood))
    passed = 0
    for number in events:
        before, began = sum(one.left for one in flood), clock[0]
        turns.turn(number)
        took = before - sum(one.left for one in flood)
        passed = passed + 1 if took == 0 else 0
        assert took <= handshakes.STEPS
        assert clock[0] - began < handshakes.STEP_SECONDS + seconds + 1e-9
        assert passed <= handshakes.PASSES
        assert took or number


def test_a_step_that_fails_ends_its_own_connection_alone() -> None:
    turns = Turns()
    line = Handshakes(turns, lambda: 0.0)  # type: ignore[arg-type]
    bad, good = Stepping(line, [], 1, 0.0), Stepping(line, [0.0], 1, 0.0)
    line.line_up(bad)  # its clock is broken
    line.line_up(good)
    turns.turn()
    assert (bad.left, good.left) == (-1, 0)


def test_who_is_connected_is_served_during_a_flood(world: World) -> None:
    listener = world.listen()
    client, user = world.client(listener)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        client_context().wrap_bio(incoming, outgoing).do_handshake()
    hello = outgoing.read()
    address: Any = listener.address()
    for _ in range(60):
        sock = socket.create_connection((address.host, address.port), timeout=10)
        world.sockets.append(sock)
        sock.sendall(hello)
    client.sendall(b"abc")
    line: Handshakes = world.wires._tls.handshakes  # type: ignore[attr-defined]
    stepped = []
    while user.got != b"abc":
        before = len(line._waiting)
        world.turn()
        stepped.append(before - len(line._waiting))
        assert len(stepped) < 30
    assert max(stepped) <= 2 * handshakes.STEPS
    world.until(lambda: len(world.users) == 61)
    world.until(lambda: not line._waiting)
    assert line.failed == 0


# Names


def test_a_name_that_is_no_ascii_refuses_that_client_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    listener = world.listen()
    sock, user = connect(world, listener)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="name.example")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    sock.sendall(outgoing.read().replace(b"name.example", b"n\xc3\xa4me.exampl"[:12]))
    world.until(lambda: user.told == ["lost"])
    assert told == []
    world.client(listener)


# Ends


def test_a_client_that_says_that_it_ends_is_answered(world: World) -> None:
    client, user = world.client(world.listen())
    assert isinstance(client, TlsSocket)
    client.sendall(b"abc")
    client.notify()
    world.until(lambda: user.told == [b"abc", "ended"])
    assert user.wire.send(b"answer")
    user.wire.close()
    world.until(lambda: user.told[-1] == "lost")
    # The client has given up reading TLS by then: look for a whole record at least.
    client.settimeout(10)
    assert socket.socket.recv(client, 5)[:1] == b"\x17"


def test_an_end_that_came_with_data_waits_for_the_pause_to_end(world: World) -> None:
    client, user = world.client(world.listen())
    assert isinstance(client, TlsSocket)
    user.on_received = lambda _: user.wire.pause()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # both at once
    client.sendall(b"x" * 2_000)
    client.notify()
    world.until(lambda: user.told)
    world.turn(3)
    assert user.told == [b"x" * 2_000]
    user.wire.resume()
    world.until(lambda: user.told[1:] == ["ended"])
    user.wire.resume()
    world.turn(3)
    assert user.told[1:] == ["ended"]


@pytest.mark.parametrize("how", ["close", "finish", "send_last"])
@pytest.mark.parametrize("count", [3, 3 * RECORD_BYTES, 1_000_000])
def test_our_end_is_told_in_tls_and_below(world: World, how: str, count: int) -> None:
    client, user = world.client(world.listen())
    if how == "send_last":
        user.wire.send_last(b"x" * count)
    else:
        user.wire.send(b"x" * count)
        getattr(user.wire, how)()
    assert len(read_all(world, client)) == count  # a mere end of file would raise
    assert socket.socket.recv(client, 1) == b""


def test_what_comes_while_we_end_is_read_still(world: World) -> None:
    client, user = world.client(world.listen())
    user.wire.pause()
    client.sendall(b"abc")
    world.turn(3)
    user.wire.send(b"answer")
    user.wire.finish()
    world.until(lambda: user.told == ["drained"])
    client.sendall(b"def")
    user.wire.resume()
    world.until(lambda: user.got == b"abcdef")
    assert read_all(world, client) == b"answer"
    client.settimeout(10)
    client.sendall(b"ghi")
    world.until(lambda: user.got == b"abcdefghi")


def test_data_that_comes_at_the_very_moment_of_our_end_is_read(world: World) -> None:
    client, user = world.client(world.listen())
    client.sendall(b"abc")
    user.wire.send(b"answer")
    user.wire.finish()
    client.sendall(b"x" * 100_000)
    assert read_all(world, client) == b"answer"
    world.until(lambda: user.got == b"abc" + b"x" * 100_000)
    client.close()
    world.until(lambda: user.told[-1] == "ended")


def test_the_end_in_the_middle_of_a_record_is_an_end(world: World) -> None:
    client, user = world.client(world.listen())
    client.sendall(b"abc")
    socket.socket.sendall(client, b"\x17\x03\x03\x00\x20" + bytes(7))
    socket.socket.shutdown(client, socket.SHUT_WR)
    world.until(lambda: user.told == [b"abc", "ended"])
    user.wire.send(b"answer")
    user.wire.close()
    assert read_all(world, client) == b"answer"


def test_a_broken_record_ends_the_connection(world: World) -> None:
    client, user = world.client(world.listen())
    socket.socket.sendall(client, b"\x17\x03\x03\x00\x20" + bytes(32))
    world.until(lambda: user.told == ["lost"])


def test_the_client_cannot_renegotiate(world: World) -> None:
    from OpenSSL import SSL

    sock, user = connect(world, world.listen())
    connection = SSL.Connection(SSL.Context(SSL.TLSv1_2_METHOD), sock)
    connection.set_connect_state()
    sock.setblocking(False)

    def outcome() -> str:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            return ""
        except SSL.Error:
            return "refused"
        return "done"

    world.until(lambda: outcome() == "done")
    connection.renegotiate()
    found: list[str] = []
    world.until(lambda: found.append(outcome()) or found[-1])  # type: ignore[func-returns-value]
    assert found[-1] == "refused"
    assert user.got == b""


# Sending


def test_what_is_sent_keeps_its_order(world: World) -> None:
    client, user = world.client(world.listen())
    sent = b""
    number = 0
    while user.wire.pending < 150_000:
        piece = bytes([number % 251]) * (number * 997 % 40_000 + 1)
        user.wire.send(piece)
        sent += piece
        number += 1
    user.wire.finish()
    assert read_all(world, client) == sent
    assert user.told == ["drained"]


class Measured:
    """Memory between TLS and the kernel; `most` is how much was ever in it."""

    def __init__(self, memory: ssl.MemoryBIO) -> None:
        self._memory = memory
        self.most = 0

    @property
    def pending(self) -> int:
        return self._memory.pending

    def write(self, data: bytes) -> int:
        count = self._memory.write(data)
        self.most = max(self.most, self.pending)
        return count

    def read(self) -> bytes:
        self.most = max(self.most, self.pending)
        return self._memory.read()


def test_tls_is_given_little_at_a_time(world: World) -> None:
    # OpenSSL keeps such memory: an idle connection would have what its largest piece took.
    client, user = world.client(world.listen())
    wire: Any = user.wire
    outgoing = wire._outgoing = Measured(wire._outgoing)
    incoming = wire._incoming = Measured(wire._incoming)
    data = bytes(range(250)) * 1_000
    user.wire.send(data)
    user.wire.finish()
    assert read_all(world, client) == data
    client.settimeout(10)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(client.sendall, data)
        world.until(lambda: user.got == data)
        sent.result()
    assert 0 < outgoing.most < 17_000
    assert 0 < incoming.most < 34_000


def test_who_takes_nothing_of_what_tls_itself_answers_is_not_read(world: World) -> None:
    client, user = world.client(world.listen())
    wire: Any = user.wire
    replies = 0
    while not wire._choked:
        # As updates of keys, which Python's clients cannot ask for.
        wire._outgoing.write(b"x" * 10_000)
        wire._reply()
        replies += 1
        assert replies < 2_000
    assert wire.pending <= HIGH_WATER
    client.sendall(b"abc")
    world.turn(5)
    user.wire.pause()
    user.wire.resume()
    world.turn(5)
    assert user.told == []
    socket.socket.setblocking(client, False)
    deadline = time.monotonic() + 10
    while user.told != [b"abc"]:
        with suppress(BlockingIOError):
            while socket.socket.recv(client, 1 << 20):
                pass
        world.turn()
        assert time.monotonic() < deadline
    assert user.wire.alive()


class InMemory:
    """A client that says what it says when it is told to."""

    def __init__(self, world: World, sock: socket.socket) -> None:
        """Shake hands until all is there but the client's last flight, which is in `outgoing`."""
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self.incoming, self.outgoing)
        self.sock = sock
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.flush()
        sock.setblocking(False)
        deadline = time.monotonic() + 10
        while True:
            world.turn()
            assert time.monotonic() < deadline
            with suppress(BlockingIOError, ssl.SSLWantReadError):
                self.incoming.write(sock.recv(65_536))
                self.tls.do_handshake()
                break

    def flush(self) -> None:
        self.sock.sendall(self.outgoing.read())


@pytest.mark.parametrize("paused", [False, True])
def test_a_request_may_come_with_the_last_step_of_the_handshake(world: World, paused: bool) -> None:
    sock, user = connect(world, world.listen())
    client = InMemory(world, sock)
    client.tls.write(b"abc")
    with suppress(ssl.SSLWantReadError):
        client.tls.unwrap()
    if paused:
        user.wire.pause()
    client.flush()
    if paused:
        line: Handshakes = world.wires._tls.handshakes  # type: ignore[attr-defined]
        world.until(lambda: line.done)
        world.turn(3)
        assert user.told == []
        assert not user.wire.alive()
        user.wire.resume()
    world.until(lambda: user.told == [b"abc", "ended"])


@pytest.mark.parametrize("how", ["send", "send_last", "close"])
def test_the_ticket_goes_with_the_answer_to_a_request_that_came_so(world: World, how: str) -> None:
    sock, user = connect(world, world.listen())
    client = InMemory(world, sock)
    user.on_received = lambda _: True
    client.tls.write(b"abc")
    client.flush()
    world.until(lambda: user.got == b"abc")
    world.turn(3)
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    wire: Any = user.wire
    wire.close() if how == "close" else getattr(wire, how)(b"answer")
    world.until(lambda: client.incoming.write(take(sock)) and client.incoming.pending)
    assert client.tls.read(10) == (b"" if how == "close" else b"answer")
    assert client.tls.session is not None
    assert client.tls.session.has_ticket


@pytest.mark.parametrize("came", [b"", b"abc"])
@pytest.mark.parametrize("paused", [False, True])
def test_the_ticket_is_not_held_back_otherwise(world: World, came: bytes, paused: bool) -> None:
    # A client without NODELAY would wait for the acknowledgement that comes with it.
    sock, user = connect(world, world.listen())
    client = InMemory(world, sock)
    if came:
        client.tls.write(came)
    if paused:
        user.wire.pause()
    client.flush()
    world.until(lambda: client.incoming.write(take(sock)) and client.incoming.pending)
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.read(10)
    assert client.tls.session is not None
    assert client.tls.session.has_ticket
    user.wire.resume()
    world.until(lambda: user.got == came)


def take(sock: socket.socket) -> bytes:
    """Return what is there."""
    try:
        return sock.recv(65_536)
    except BlockingIOError:
        return b""


def test_more_than_a_hello_before_its_turn_waits_in_the_kernel(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock, user = connect(world, world.listen())
    line: Handshakes = world.wires._tls.handshakes  # type: ignore[attr-defined]
    wire: Any = user.wire
    with monkeypatch.context() as patch:
        patch.setattr(line, "line_up", lambda _: None)
        sock.sendall(b"\x16\x03\x01\x40\x00" + bytes(0x4000))
        world.until(lambda: not wire._reading)
        assert wire._incoming.pending <= 4_096
    wire.step_handshake()
    world.until(lambda: user.told == ["lost"])
    assert line.failed == 1


def test_nothing_is_nothing(world: World) -> None:
    client, user = world.client(world.listen())
    assert user.wire.send(b"")
    user.wire.send(b"abc")
    user.wire.close()
    assert read_all(world, client) == b"abc"


# Who speaks no TLS


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "POST", "HEAD"])
def test_http_in_plain_text_gets_a_hint(world: World, method: str) -> None:
    sock, user = connect(world, world.listen())
    # More than the kernel gives away unread.
    sock.sendall(f"{method} / HTTP/1.1\r\nHost: h\r\n\r\n".encode() + b"x" * 100_000)
    answer = read_all(world, sock)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close" in head
    assert head.lower().count(b"access-control-allow-origin: *") == 1
    if method == "HEAD":
        assert body == b""
    else:
        assert b"HTTPS" in body
        assert f"Content-Length: {len(body)}".encode() in head
    sock.close()
    world.until(lambda: user.told == ["lost"])


def test_a_hint_is_not_waited_for_longer_than_two_seconds(world: World) -> None:
    sock, user = connect(world, world.listen())
    sock.sendall(b"G")
    began = time.monotonic()
    world.until(lambda: user.told == ["lost"])
    assert 1.9 < time.monotonic() - began < 4


def test_noise_is_closed(world: World) -> None:
    listener = world.listen()
    for noise in (b"\x00", b"\x80\x2e\x01\x00\x02", b"\xff" * 100, b"SSH-2.0-x\r\n"[::-1]):
        sock, user = connect(world, listener)
        sock.sendall(noise)
        world.until(lambda user=user: user.told == ["lost"])  # type: ignore[misc]
        with suppress(ConnectionResetError):
            assert b"HTTP" not in sock.recv(10) or noise[:1] in b"\r\n"
    world.client(listener)


# Listening


def test_several_strings_of_one_port_are_one_listener(world: World, tmp_path: Path) -> None:
    first, second = make(tmp_path, "1", ("a.example",)), make(tmp_path, "2", ("b.example",))
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    one, two = (world.listen(made.endpoint(port)) for made in (first, second))
    assert one.address() == two.address()

    def shown(name: str | None) -> bytes:
        sock, _ = connect(world, one)
        tls = shake(world, wrap(sock, name=name))
        return tls.getpeercert(binary_form=True) or b""

    ders = [ssl.PEM_cert_to_DER_cert(made.certificate.read_text()) for made in (first, second)]
    assert [shown("a.example"), shown("b.example"), shown(None), shown("c.example")] == [
        ders[0], ders[1], ders[0], ders[0],
    ]  # fmt: skip
    assert one.certificate().names == ("a.example",)  # type: ignore[attr-defined]
    world.result(one.close())
    world.result(one.close())
    assert shown("a.example") == ders[1]
    world.result(two.close())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
    world.listen(first.endpoint(port))


def test_changed_files_are_served_in_time_and_who_is_connected_stays(
    world: World, tmp_path: Path
) -> None:
    world.tls = made = make(tmp_path)
    listener = world.listen()
    client, user = world.client(listener)
    make(tmp_path)
    new = ssl.PEM_cert_to_DER_cert(made.certificate.read_text())
    began = time.monotonic()
    while True:
        other, _ = world.client(listener)
        assert isinstance(other, TlsSocket)
        if other.getpeercert(binary_form=True) == new:
            break
        other.close()
        assert time.monotonic() < began + 5
        world.turn(20)
    client.sendall(b"abc")
    world.until(lambda: user.got == b"abc")


def test_an_unusable_certificate_is_told_with_the_port(world: World, made: Made) -> None:
    with pytest.raises(CannotListenError) as caught:
        world.listen(f"ssl:0:privateKey={made.key}:certKey=/nowhere:interface=127.0.0.1")
    assert (caught.value.interface, caught.value.port) == ("127.0.0.1", 0)
    assert str(caught.value.socketError) == "No such file or directory: /nowhere"


def test_a_taken_port_is_told(world: World, made: Made) -> None:
    holder = socket.create_server(("127.0.0.1", 0))
    with holder, pytest.raises(CannotListenError) as caught:
        world.listen(made.endpoint(holder.getsockname()[1]))
    assert caught.value.socketError.errno == errno.EADDRINUSE


def test_no_tls_in_a_wrapper(world: World, made: Made) -> None:
    with pytest.raises(CannotListenError, match="without a wrapper"):
        world.listen(f"haproxy:{made.endpoint()}")


def test_no_tls_over_transports(made: Made) -> None:
    world = World(nest=False)
    for endpoint in (made.endpoint(), f"haproxy:{made.endpoint()}"):
        with pytest.raises(CannotListenError, match="epoll"):
            world.listen(endpoint)
    world.listen(LOOPBACK)
    world.close()
