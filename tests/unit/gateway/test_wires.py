"""Listening, connecting and moving bytes, by the same tests over every kind of wires."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.selectreactor import SelectReactor

from sqsuper.gateway import dialing, nested
from sqsuper.gateway.listening import Listening, Wires, wires_for
from sqsuper.gateway.nest import Nest, possible
from sqsuper.gateway.nested import HIGH_WATER, NestedWire
from sqsuper.gateway.tls_listening import TlsListening
from sqsuper.gateway.wire import Wire
from sqsuper.instances import Upstream
from tests.tls_support import Made, make, wrap

LOOPBACK = "tcp:0:interface=127.0.0.1"

needs_epoll = pytest.mark.skipif(not possible(SelectReactor()), reason="no epoll here")


@attrs.define(eq=False)
class User:
    """Records what a wire tells; `on_received` may act on it."""

    wire: Wire
    peer: str = ""
    told: list[Any] = attrs.field(factory=list)
    on_received: Callable[[bytes], bool | None] = lambda _: None

    def received(self, data: bytes) -> bool | None:
        self.told.append(data)
        return self.on_received(data)

    def drained(self) -> None:
        self.told.append("drained")

    def ended(self) -> None:
        self.told.append("ended")

    def lost(self) -> None:
        self.told.append("lost")

    @property
    def got(self) -> bytes:
        return b"".join(told for told in self.told if isinstance(told, bytes))


class World:
    """One kind of wires in a reactor that is turned by hand."""

    def __init__(self, nest: bool, tls: Made | None = None) -> None:
        self.tls = tls
        self.reactor: Any = SelectReactor()
        self.reactor.startRunning(installSignalHandlers=False)
        self.wires: Wires = wires_for(self.reactor, nest)
        self.users: list[User] = []
        self.listeners: list[Listening] = []
        self.sockets: list[socket.socket] = []
        self.failing = False

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.reactor.runUntilCurrent()
            self.reactor.doIteration(0.005)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            self.turn()
            assert time.monotonic() < deadline

    def result(self, what: Any) -> Any:
        """Turn until a coroutine is over; return its result or raise its error."""
        outcome: list[Any] = []
        deferred = Deferred.fromCoroutine(what)
        deferred.addCallbacks(outcome.append, lambda failure: outcome.append(failure.value))
        self.until(lambda: outcome)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def accept(self, wire: Wire, peer: str) -> User:
        if self.failing:
            raise ZeroDivisionError
        user = User(wire, peer)
        self.users.append(user)
        return user

    def listen(self, endpoint: str = LOOPBACK) -> Listening:
        if self.tls is not None and endpoint == LOOPBACK:
            endpoint = self.tls.endpoint()
        one: Listening = self.result(self.wires.listen(endpoint, self.accept))
        self.listeners.append(one)
        return one

    def client(self, listener: Listening) -> tuple[socket.socket, User]:
        """Return a client's socket and the user of the wire at the other end."""
        address: Any = listener.address()
        known = len(self.users)
        if hasattr(address, "port"):
            sock = socket.create_connection((address.host, address.port), timeout=10)
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(10)
            sock.connect(address.name)
        if isinstance(listener, TlsListening):
            sock = self.secure(sock)
        self.sockets.append(sock)
        self.until(lambda: len(self.users) > known)
        return sock, self.users[-1]

    def secure(self, sock: socket.socket) -> socket.socket:
        """Return the socket once its TLS handshake is over."""
        secured = wrap(sock)
        secured.setblocking(False)

        def shaken() -> bool:
            with suppress(ssl.SSLWantReadError):
                secured.do_handshake()
                return True
            return False

        self.until(shaken)
        self.turn(2)
        secured.settimeout(10)
        with suppress(BlockingIOError):  # the tickets
            secured.recv(0)
        return secured

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        for listener in self.listeners:
            with suppress(OSError):
                self.result(listener.close())
        for user in self.users:
            if "lost" not in user.told:
                user.wire.abort()
        self.until(lambda: all(user.told.count("lost") == 1 for user in self.users))
        self.wires.close()
        self.reactor.fireSystemEvent("shutdown")
        for _ in range(3):
            self.turn()
        self.reactor.disconnectAll()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(
    params=[
        pytest.param("nested", marks=needs_epoll),
        "transports",
        pytest.param("tls", marks=needs_epoll),
    ]
)
def world(request: pytest.FixtureRequest, made: Made) -> Iterator[World]:
    tls = made if request.param == "tls" else None
    one = World(request.param != "transports", tls)
    yield one
    one.close()


@pytest.fixture
def nest_world() -> Iterator[World]:
    one = World(nest=True)
    yield one
    one.close()


# Listening


@pytest.mark.parametrize("endpoint", [LOOPBACK, "tcp6:0:interface=\\:\\:1"])
def test_listening_on_tcp(world: World, endpoint: str) -> None:
    listener = world.listen(endpoint)
    address: Any = listener.address()
    assert address.port > 0
    client, user = world.client(listener)
    assert user.peer == client.getsockname()[0]
    client.sendall(b"abc")
    world.until(lambda: user.got == b"abc")
    assert user.wire.send(b"def")
    world.turn(2)
    assert client.recv(10) == b"def"


def test_a_port_that_is_taken_is_named(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(CannotListenError) as caught:
            world.listen(f"tcp:{port}:interface=127.0.0.1")
    assert (caught.value.interface, caught.value.port) == ("127.0.0.1", port)
    assert caught.value.socketError.errno == errno.EADDRINUSE


def test_a_unix_socket_has_its_mode_and_goes_at_the_end(world: World, short_dir: Path) -> None:
    path = short_dir / "s"
    listener = world.listen(f"unix:{path}:mode=600")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    client, user = world.client(listener)
    assert user.peer == ""
    client.sendall(b"abc")
    world.until(lambda: user.got == b"abc")
    world.listeners.remove(listener)
    world.result(listener.close())
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced_under_its_lock(world: World, short_dir: Path) -> None:
    path = short_dir / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    os.symlink("4194304", f"{path}.lock")  # of a process that is no more
    listener = world.listen(f"unix:{path}:lockfile=1")
    world.client(listener)
    with pytest.raises(CannotListenError):
        world.listen(f"unix:{path}:lockfile=1")


def test_a_port_is_free_again_after_closing(world: World) -> None:
    listener = world.listen()
    address: Any = listener.address()
    client, user = world.client(listener)
    world.listeners.remove(listener)
    world.result(listener.close())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.host, address.port), timeout=10)
    client.sendall(b"abc")  # what is connected already goes on
    world.until(lambda: user.got == b"abc")
    world.listen(f"tcp:{address.port}:interface=127.0.0.1")


def test_any_other_endpoint_is_served_too(world: World) -> None:
    listener = world.listen(f"haproxy:{LOOPBACK}")
    address: Any = listener.address()
    with socket.create_connection((address.host, address.port), timeout=10) as client:
        client.sendall(b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 80\r\nabc")
        world.until(lambda: world.users and world.users[0].got == b"abc")


# Connecting


@attrs.define
class Outcome:
    users: list[User] = attrs.field(factory=list)
    failures: list[bool] = attrs.field(factory=list)

    def connected(self, wire: Wire) -> User:
        self.users.append(User(wire))
        return self.users[-1]


def connect(world: World, upstream: Upstream) -> tuple[Outcome, Callable[[], None]]:
    outcome = Outcome()
    cancel = world.wires.connector.connect(upstream, outcome.connected, outcome.failures.append)
    world.users.extend(outcome.users)
    return outcome, cancel


@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_connecting(world: World, short_dir: Path, family: str) -> None:
    if family == "unix":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(short_dir / "s"))
        server.listen()
        upstream = Upstream("a", 1, "K", path=str(short_dir / "s"))
    else:
        server = socket.create_server(("127.0.0.1", 0))
        upstream = Upstream("a", 1, "K", port=server.getsockname()[1])
    with server:
        outcome, cancel = connect(world, upstream)
        world.until(lambda: outcome.users)
        user = outcome.users[0]
        if user not in world.users:
            world.users.append(user)
        peer, _ = server.accept()
        with peer:
            assert user.wire.alive()
            user.wire.send(b"abc")
            world.turn(2)
            assert peer.recv(10) == b"abc"
            peer.sendall(b"def")
            world.until(lambda: user.got == b"def")
            cancel()  # harmless now
            peer.sendall(b"ghi")
            world.until(lambda: user.got == b"defghi")
    assert outcome.failures == []


@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_nobody_listens(world: World, short_dir: Path, family: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    upstream = (
        Upstream("a", 1, "K", path=str(short_dir / "none"))
        if family == "unix"
        else Upstream("a", 1, "K", port=port)
    )
    outcome, _ = connect(world, upstream)
    world.until(lambda: outcome.failures)
    world.turn(3)
    assert (outcome.users, outcome.failures) == ([], [False])


def test_a_full_backlog_is_no_refusal(world: World, short_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short_dir / "s"))
        server.listen(0)
        upstream = Upstream("a", 1, "K", path=str(short_dir / "s"))
        outcomes = [connect(world, upstream)[0] for _ in range(5)]
        assert outcomes[0].users
        assert outcomes[-1].failures == [True]
        for outcome in outcomes:
            assert len(outcome.users) + len(outcome.failures) == 1


def black_hole() -> tuple[socket.socket, list[socket.socket]]:
    """Return a listener whose backlog is full, so that a connect to it stays under way."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    fillers = []
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(server.getsockname())
        fillers.append(filler)
    return server, fillers


@needs_epoll
def test_a_connect_that_takes_too_long_fails(nest_world: World) -> None:
    server, fillers = black_hole()
    nest = nest_world.wires._nest  # type: ignore[attr-defined]
    outcome = Outcome()
    connector = dialing.NestedConnector(nest, timeout=0.05)
    upstream = Upstream("a", 1, "K", port=server.getsockname()[1])
    connector.connect(upstream, outcome.connected, outcome.failures.append)
    assert outcome == Outcome()
    nest_world.until(lambda: outcome.failures)
    assert outcome.failures == [False]
    for sock in (server, *fillers):
        sock.close()


def test_a_cancelled_connect_tells_nothing(world: World) -> None:
    server, fillers = black_hole()
    upstream = Upstream("a", 1, "K", port=server.getsockname()[1])
    outcome, cancel = connect(world, upstream)
    cancel()
    cancel()
    for sock in (server, *fillers):
        sock.close()
    world.turn(5)
    assert (outcome.users, outcome.failures) == ([], [])


# Connecting and sending at once


def served(family: str, directory: Path) -> tuple[socket.socket, Upstream]:
    if family == "tcp":
        server = socket.create_server(("127.0.0.1", 0))
        return server, Upstream("a", 1, "K", port=server.getsockname()[1])
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(directory / "s"))
    server.listen()
    return server, Upstream("a", 1, "K", path=str(directory / "s"))


def send_at_once(world: World, upstream: Upstream, data: bytes = b"abc") -> User | None:
    user = User(None)  # type: ignore[arg-type]
    wire = world.wires.connector.send_at_once(upstream, data, user)
    assert user.told == []
    if wire is None:
        return None
    user.wire = wire
    return user


@needs_epoll
@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_a_request_is_sent_with_its_connection(
    nest_world: World, short_dir: Path, family: str
) -> None:
    server, upstream = served(family, short_dir)
    with server:
        user = send_at_once(nest_world, upstream)
        assert user is not None
        assert (user.wire.pending, user.wire.alive()) == (0, True)
        peer, _ = server.accept()
        with peer:
            assert peer.recv(10) == b"abc"
            user.wire.send(b"def")
            assert peer.recv(10) == b"def"
            peer.sendall(b"ghi")
            nest_world.until(lambda: user.told == [b"ghi"])
            user.wire.discard()
            nest_world.turn()
            assert peer.recv(10) == b""
    nest_world.turn()
    assert user.told == [b"ghi"]


@needs_epoll
@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_what_is_not_sent_at_once_is_sent_later(
    nest_world: World, short_dir: Path, family: str
) -> None:
    server, upstream = served(family, short_dir)
    data = bytes(range(256)) * 40_000
    with server:
        user = send_at_once(nest_world, upstream, data)
        assert user is not None
        nest_world.users.append(user)
        assert 0 < user.wire.pending < len(data)
        if family == "tcp":
            assert option(user, socket.TCP_NODELAY) == 1
        user.wire.send(b"end")
        got = bytearray()
        peer, _ = server.accept()
        with peer:
            peer.setblocking(False)

            def all_there() -> bool:
                with suppress(BlockingIOError):
                    got.extend(peer.recv(1 << 20))
                return len(got) >= len(data) + 3

            nest_world.until(all_there)
            assert got == data + b"end"


def option(user: User, name: int) -> int:
    sock: socket.socket = user.wire._socket  # type: ignore[attr-defined]
    return sock.getsockopt(socket.IPPROTO_TCP, name)


@needs_epoll
def test_an_answer_in_pieces_is_acknowledged_at_once(nest_world: World) -> None:
    # An instance without NODELAY sends the second piece only then: 40 ms later, else.
    server, upstream = served("tcp", Path())
    with server:
        user = send_at_once(nest_world, upstream)
        assert user is not None
        nest_world.users.append(user)
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"one")
            nest_world.until(lambda: user.got == b"one")
            assert option(user, socket.TCP_QUICKACK) == 1
            assert option(user, socket.TCP_NODELAY) == 1
            peer.sendall(b"two")
            nest_world.until(lambda: user.got == b"onetwo")


@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_nothing_is_sent_where_nobody_listens(world: World, short_dir: Path, family: str) -> None:
    server, upstream = served(family, short_dir)
    server.close()
    assert send_at_once(world, upstream) is None


def test_nothing_is_sent_where_connecting_takes_time(world: World) -> None:
    server, fillers = black_hole()
    upstream = Upstream("a", 1, "K", port=server.getsockname()[1])
    assert send_at_once(world, upstream) is None
    for sock in (server, *fillers):
        sock.close()


def test_nothing_is_sent_to_a_full_backlog(world: World, short_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as filler:
        server.bind(str(short_dir / "s"))
        server.listen(0)
        filler.connect(str(short_dir / "s"))
        assert send_at_once(world, Upstream("a", 1, "K", path=str(short_dir / "s"))) is None


@needs_epoll
@pytest.mark.parametrize("ended", [False, True])
def test_a_copy_of_a_discarded_connection_disturbs_nobody(nest_world: World, ended: bool) -> None:
    # As a child has it that was just forked.
    server, upstream = served("tcp", Path())
    with server:
        first = send_at_once(nest_world, upstream)
        assert first is not None
        first_peer, _ = server.accept()
        number: int = first.wire._fd  # type: ignore[attr-defined]
        copy = os.dup(number)
        if ended:
            first_peer.shutdown(socket.SHUT_WR)
            nest_world.until(lambda: "ended" in first.told)
        first.wire.discard()
        nest_world.turn()
        second = send_at_once(nest_world, upstream)
        assert second is not None
        assert second.wire._fd == number  # type: ignore[attr-defined]
        nest_world.users.append(second)
        second_peer, _ = server.accept()
        with first_peer, second_peer:
            if not ended:
                first_peer.sendall(b"for the first")
            nest_world.turn(3)
            first_peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            first_peer.close()
            nest_world.turn(3)
            second_peer.sendall(b"for the second")
            nest_world.until(lambda: second.got)
            assert second.told == [b"for the second"]
            os.close(copy)


# Bytes


def stuck(world: World, listener: Listening) -> tuple[socket.socket, User]:
    """Return a client that takes nothing, and a user whose wire has sent all it may."""
    client, user = world.client(listener)
    while user.wire.pending <= HIGH_WATER:
        while user.wire.send(b"x" * 60_000):
            pass
        world.turn(3)
    user.told.clear()
    return client, user


def drain(world: World, client: socket.socket, user: User, until: str) -> int:
    """Let the client take everything until its wire tells `until`; return how much it was."""
    taken = 0
    client.setblocking(False)
    deadline = time.monotonic() + 10
    while until not in user.told:
        assert time.monotonic() < deadline
        with suppress(BlockingIOError):
            data = client.recv(1 << 20)
            taken += len(data)
            if not data:
                break
        world.turn()
    return taken


@pytest.fixture(params=["tcp", "unix"])
def listener(request: pytest.FixtureRequest, world: World, short_dir: Path) -> Listening:
    return world.listen(LOOPBACK if request.param == "tcp" else f"unix:{short_dir / 'l'}")


def test_what_is_sent_waits_its_turn(world: World, listener: Listening) -> None:
    client, user = stuck(world, listener)
    assert user.wire.untaken() >= user.wire.pending
    user.wire.send(b"end")
    drain(world, client, user, "drained")
    assert user.wire.pending == 0
    assert user.told == ["drained"]
    client.setblocking(True)
    while not client.recv(1 << 20).endswith(b"end"):
        pass
    world.until(lambda: user.wire.untaken() == 0)


def test_a_file_is_sent_from_where_it_is_asked(
    world: World, listener: Listening, short_dir: Path
) -> None:
    content = os.urandom(3 << 20)
    (short_dir / "f").write_bytes(content)
    client, user = world.client(listener)
    client.setblocking(False)
    user.wire.send(b"head")
    taken, offset, more = b"", 1000, True
    deadline = time.monotonic() + 10
    with (short_dir / "f").open("rb") as file:
        while len(taken) < 4 + len(content) - 1000:
            assert time.monotonic() < deadline
            if "drained" in user.told:
                user.told.clear()
                more = True
            if more and offset < len(content):
                count, more = user.wire.send_file(file.fileno(), offset, len(content) - offset)
                offset += count
            with suppress(BlockingIOError):
                taken += client.recv(1 << 20)
            world.turn()
    assert taken == b"head" + content[1000:]


@needs_epoll
@pytest.mark.parametrize("error", [None, errno.EINVAL, errno.EPIPE])
def test_a_file_is_sent_by_the_kernel_where_it_can(
    nest_world: World, short_dir: Path, monkeypatch: pytest.MonkeyPatch, error: int | None
) -> None:
    (short_dir / "f").write_bytes(b"abcdef")
    client, user = nest_world.client(nest_world.listen())

    def failing(*_: object) -> int:
        raise OSError(error, "")

    if error is None:
        monkeypatch.setattr(os, "read", failing)
    else:
        monkeypatch.setattr(os, "sendfile", failing)
    with (short_dir / "f").open("rb") as file:
        assert user.wire.send_file(file.fileno(), 2, 4) == (4, True)
    if error == errno.EPIPE:
        nest_world.until(lambda: user.told == ["lost"])
    else:
        assert client.recv(9) == b"cdef"


def test_a_reader_that_takes_little_is_seen_to_take(world: World) -> None:
    client, user = stuck(world, world.listen())
    before = user.wire.untaken()
    for _ in range(1000):
        client.recv(4096)
        world.turn()
        if user.wire.untaken() != before:
            break
    assert user.wire.untaken() < before


def test_closing_sends_everything_first(world: World, listener: Listening) -> None:
    client, user = stuck(world, listener)
    pending = user.wire.pending
    user.wire.close()
    user.wire.send(b"too late")
    user.wire.resume()
    client.sendall(b"never read")
    taken = drain(world, client, user, "lost")
    with suppress(ConnectionResetError):  # as something is there that it never read
        while data := client.recv(1 << 20):
            taken += len(data)
    assert taken >= pending
    assert user.told == ["lost"]


def test_ending_our_direction_sends_everything_first(world: World, listener: Listening) -> None:
    client, user = stuck(world, listener)
    user.wire.finish()
    drain(world, client, user, "drained")
    client.setblocking(True)
    while client.recv(1 << 20):
        pass
    client.sendall(b"abc")
    world.until(lambda: user.got == b"abc")
    client.shutdown(socket.SHUT_WR)
    world.until(lambda: user.told == ["drained", b"abc", "ended"])
    user.wire.close()
    world.until(lambda: user.told[-1] == "lost")


def test_what_is_last_goes_behind_what_still_waits(world: World, listener: Listening) -> None:
    client, user = stuck(world, listener)
    user.wire.send_last(b"the last")
    end = data = b"more"
    client.setblocking(False)
    deadline = time.monotonic() + 10
    while data:
        assert time.monotonic() < deadline
        world.turn()
        with suppress(BlockingIOError, ssl.SSLWantReadError):
            data = client.recv(1 << 20)
            end = (end + data)[-8:]
    assert end == b"the last"
    world.until(lambda: "drained" in user.told)
    assert "lost" not in user.told


def test_nothing_is_read_while_paused(world: World, listener: Listening) -> None:
    client, user = world.client(listener)
    user.wire.pause()
    client.sendall(b"abc")
    world.turn(5)
    assert user.told == []
    assert not user.wire.alive()
    user.wire.resume()
    world.until(lambda: user.got == b"abc")
    user.wire.pause()
    user.wire.resume()
    client.sendall(b"def")
    world.until(lambda: user.got == b"abcdef")
    assert user.wire.alive()


@needs_epoll
@pytest.mark.parametrize("how", ["close", "half-close"])
def test_what_came_before_the_end_is_read_after_a_pause(
    nest_world: World, short_dir: Path, how: str
) -> None:
    def check(listener: Listening) -> None:
        client, user = nest_world.client(listener)
        user.wire.pause()
        client.sendall(b"abc")
        if how == "close":
            client.close()
        else:
            client.shutdown(socket.SHUT_WR)
        nest_world.turn(5)
        assert user.told == []
        user.wire.resume()
        nest_world.until(lambda: user.told[:2] == [b"abc", "ended"])
        user.wire.close()
        nest_world.until(lambda: user.told == [b"abc", "ended", "lost"])

    check(nest_world.listen())
    check(nest_world.listen(f"unix:{short_dir / 'l'}"))


@needs_epoll
def test_an_early_answer_outlives_a_broken_connection(nest_world: World, short_dir: Path) -> None:
    """A peer that answers and goes, with much of the request unread, has still answered."""
    client, user = nest_world.client(nest_world.listen(f"unix:{short_dir / 'l'}"))
    user.wire.send(b"x" * 10_000)
    client.sendall(b"early")
    client.recv(5_000)
    client.recv(5_000)
    client.close()
    user.wire.send(b"more")
    nest_world.until(lambda: "lost" in user.told)
    assert user.told[0] == b"early"
    assert user.told[-1] == "lost"
    assert user.told.count("lost") == 1


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def test_a_reset_is_noticed(world: World) -> None:
    client, user = world.client(world.listen())
    reset(client)
    world.until(lambda: user.told == ["lost"])
    assert not user.wire.alive()


@needs_epoll
def test_a_reset_is_noticed_while_paused(nest_world: World) -> None:
    """Our own loop can: a paused transport of Twisted's notices nothing."""
    client, user = nest_world.client(nest_world.listen())
    user.wire.pause()
    client.sendall(b"x")
    nest_world.turn(3)
    reset(client)
    nest_world.until(lambda: user.told == ["lost"])
    assert not user.wire.alive()


@pytest.mark.parametrize("first", ["nothing", "close", "finish"])
def test_an_abort_is_at_once(world: World, listener: Listening, first: str) -> None:
    _client, user = stuck(world, listener)
    if first != "nothing":
        getattr(user.wire, first)()
    user.wire.abort()
    user.wire.abort()
    assert user.told == []  # never from within
    world.until(lambda: user.told == ["lost"])
    user.wire.resume()
    user.wire.close()
    world.turn(3)
    assert user.told == ["lost"]


def test_an_abort_resets(world: World) -> None:
    client, user = world.client(world.listen())
    user.wire.abort()
    world.until(lambda: user.told == ["lost"])
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_user_that_fails_loses_its_own_connection_alone(world: World) -> None:
    listener = world.listen()
    client, user = world.client(listener)
    _other, bystander = world.client(listener)

    def fail(_: bytes) -> None:
        raise ZeroDivisionError

    user.on_received = fail
    client.sendall(b"abc")
    world.until(lambda: user.told == [b"abc", "lost"])
    world.turn(3)
    assert bystander.told == []
    assert bystander.wire.alive()


def test_a_user_that_cannot_be_made_takes_no_listener_down(world: World) -> None:
    listener = world.listen()
    world.failing = True
    address: Any = listener.address()
    with socket.create_connection((address.host, address.port), timeout=10) as client:
        client.setblocking(False)
        ended = False
        deadline = time.monotonic() + 10
        while not ended:
            assert time.monotonic() < deadline
            world.turn()
            try:
                ended = client.recv(1) == b""
            except BlockingIOError:
                continue
            except ConnectionError:
                ended = True
    world.failing = False
    world.client(listener)


# What is the nest's own


@needs_epoll
def test_a_read_is_bounded(nest_world: World) -> None:
    client, user = nest_world.client(nest_world.listen())
    client.setblocking(False)
    sent = 0
    with suppress(BlockingIOError):
        while sent < (8 << 20):
            sent += client.send(b"x" * 262_144)
    nest_world.until(lambda: len(user.got) >= min(sent, 1 << 20))
    assert max(map(len, user.told)) <= 65_536


@needs_epoll
def test_large_answers_are_read_in_large_pieces(nest_world: World, short_dir: Path) -> None:
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    nest = nest_world.wires._nest  # type: ignore[attr-defined]
    wire = NestedWire(nest, ours, nested.READ_MORE_BYTES)
    user = nest_world.accept(wire, "")
    ours.setblocking(False)
    wire.begin(user)
    theirs.setblocking(False)
    left = 2 << 20
    while left:
        with suppress(BlockingIOError):
            left -= theirs.send(b"x" * min(left, 300_000))
        if max(map(len, user.told), default=0) <= 65_536:
            nest_world.turn()
        else:
            break
    assert 65_536 < max(map(len, user.told)) <= 262_144 - HIGH_WATER
    theirs.close()


@needs_epoll
def test_running_out_of_descriptors_only_delays(
    nest_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = nest_world.listen()
    _client, user = nest_world.client(listener)
    real = socket.socket._accept  # type: ignore[attr-defined]
    failures = []

    def exhausted(sock: socket.socket) -> Any:
        failures.append(sock)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket.socket, "_accept", exhausted)
    address: Any = listener.address()
    with socket.create_connection((address.host, address.port), timeout=10):
        nest_world.until(lambda: failures)
        nest_world.turn(3)
        assert len(failures) == 1  # it does not spin
        monkeypatch.setattr(socket.socket, "_accept", real)
        began = time.monotonic()
        user.wire.abort()  # a descriptor comes free
        nest_world.until(lambda: len(nest_world.users) == 2)
        assert time.monotonic() < began + 0.09


@needs_epoll
def test_and_only_for_a_while(nest_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = nest_world.listen()
    real = socket.socket._accept  # type: ignore[attr-defined]
    failures = []

    def exhausted(sock: socket.socket) -> Any:
        failures.append(sock)
        raise OSError(errno.ENFILE, "Too many open files in system")

    monkeypatch.setattr(socket.socket, "_accept", exhausted)
    address: Any = listener.address()
    with socket.create_connection((address.host, address.port), timeout=10):
        nest_world.until(lambda: len(failures) == 2)  # tried again by itself
        monkeypatch.setattr(socket.socket, "_accept", real)
        nest_world.until(lambda: nest_world.users)


@needs_epoll
def test_a_closed_nest_leaves_nothing() -> None:
    world = World(nest=True)
    listener = world.listen()
    _client, user = world.client(listener)
    nest: Nest = world.wires._nest  # type: ignore[attr-defined]
    world.listeners.clear()
    world.result(listener.close())
    descriptor = nest.fileno()
    world.wires.close()
    world.wires.close()
    assert user.told == ["lost"]
    assert nest.wires == set()
    assert nest not in world.reactor.getReaders()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    world.close()
