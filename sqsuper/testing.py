"""Doubles for tests of what stands on the gateway's seams.

Each keeps the contract of what it stands for; the same tests check both.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import attrs

from sqsuper.gateway.wire import Unheard, Wire, WireUser, send_read
from sqsuper.instances import Unavailable, Upstream

ANSWER = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"


@attrs.define(eq=False)
class FixedWait:
    """A waiting request of `FixedInstances`."""

    outcome: Callable[[Upstream | Unavailable], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@attrs.define(eq=False)
class FixedInstances:
    """`Instances` whose state a test sets: `upstreams` holds who is ready, by tenant.

    Waiting requests stand in `waits` until the test calls `settle`. `refusals` and `uses`
    record what was told, `ages` how long ago each use was.
    """

    upstreams: dict[str, Upstream] = attrs.field(factory=dict)
    waits: list[tuple[str, FixedWait]] = attrs.field(factory=list)
    refusals: list[Upstream] = attrs.field(factory=list)
    uses: list[Upstream] = attrs.field(factory=list)
    ages: list[float] = attrs.field(factory=list)

    def ready(self, tenant: str) -> Upstream | None:
        return self.upstreams.get(tenant)

    def wait(self, tenant: str, outcome: Callable[[Upstream | Unavailable], None]) -> FixedWait:
        wait = FixedWait(outcome)
        self.waits.append((tenant, wait))
        return wait

    def refused(self, upstream: Upstream) -> None:
        self.refusals.append(upstream)

    def used(self, upstream: Upstream, ago: float = 0.0) -> None:
        self.uses.append(upstream)
        self.ages.append(ago)

    def waiting(self, tenant: str) -> int:
        """Return how many requests wait for the tenant's instance."""
        return sum(name == tenant and not wait.cancelled for name, wait in self.waits)

    def settle(self, tenant: str, result: Upstream | Unavailable) -> None:
        """Tell everyone who waits for `tenant`; an upstream is ready from then on."""
        if isinstance(result, Upstream):
            self.upstreams[tenant] = result
        due = [wait for name, wait in self.waits if name == tenant]
        self.waits = [(name, wait) for name, wait in self.waits if name != tenant]
        for wait in due:
            if not wait.cancelled:
                wait.outcome(result)


@attrs.define(eq=False)
class Peer:
    """The instance's end of one connection, for a script that runs in a thread of its own.

    `received`: every byte that came, whatever the script took of it. Reading raises EOFError
    at the end of the stream.
    """

    sock: socket.socket
    received: bytearray = attrs.field(factory=bytearray)
    _taken: int = 0

    def request(self) -> bytes:
        """Read one request by its Content-Length; return it, head and body."""
        head = self.until(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return head + self.take(length)

    def until(self, end: bytes) -> bytes:
        """Read up to and with `end`."""
        start = self._taken
        while (found := self.received.find(end, start)) < 0:
            self._more()
        return self.take(found + len(end) - start)

    def take(self, count: int) -> bytes:
        """Read `count` bytes."""
        end = self._taken + count
        while len(self.received) < end:
            self._more()
        taken = bytes(self.received[self._taken : end])
        self._taken = end
        return taken

    def pieces(self, count: int) -> Iterator[bytes]:
        """Read `count` bytes piece by piece, without recording those that come from now on."""
        waiting = len(self.received) - self._taken
        left = count - min(count, waiting)
        if count - left:
            yield self.take(count - left)
        while left:
            data = self.sock.recv(min(left, 262_144))
            if not data:
                raise EOFError
            left -= len(data)
            yield data

    def to_end(self) -> None:
        """Read until the gateway closes or resets the connection."""
        with suppress(OSError, EOFError):
            while True:
                self._more()

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self.sock.sendall(data)

    def close(self) -> None:
        """End both directions."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _more(self) -> None:
        data = self.sock.recv(262_144)
        if not data:
            raise EOFError
        self.received += data


def keep_alive(peer: Peer) -> None:
    """Answer every request with 200 `ok`, as an instance that keeps its connections."""
    while True:
        peer.request()
        peer.send(ANSWER)


Script = Callable[[Peer], None]


class RecordingUpstream:
    """An instance that records the bytes it gets and answers by `script`.

    It listens on loopback TCP, or on a Unix socket at `path`, until `close`. `script` is
    called with each connection, in a thread; the connection is closed when it returns.
    """

    def __init__(self, script: Script = keep_alive, path: str | None = None) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.path = path
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def upstream(self, tenant: str = "alice", epoch: int = 1, key: str = "KEY") -> Upstream:
        """Return the address of this, as that tenant's instance."""
        if self.path is not None:
            return Upstream(tenant, epoch, key, path=self.path)
        return Upstream(tenant, epoch, key, port=self._listener.getsockname()[1])

    @property
    def received(self) -> list[bytes]:
        """What came, by connection, in order of their opening."""
        return [bytes(peer.received) for peer in self.peers]

    def close(self) -> None:
        """Stop listening and close every connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            peer.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                peer = Peer(sock)
                self.peers.append(peer)
                threading.Thread(target=self._run, args=(peer,), daemon=True).start()

    def _run(self, peer: Peer) -> None:
        with suppress(OSError, EOFError):
            self.script(peer)
        peer.close()


@attrs.define(eq=False)
class FakeWire:
    """A `Wire` without a socket: a test plays the peer and the kernel.

    The kernel takes what is sent at once, unless `stuck`. `sent`: what it took. `state`: `open`,
    `finished`, `closed` or `aborted`. Calls `user` as a real wire does: never from within
    `send`, and `lost` only when the test calls `lose` (or `settle`, once closing is due).
    """

    HIGH_WATER = 65_536

    user: WireUser | None = None
    sent: bytearray = attrs.field(factory=bytearray)
    state: str = "open"
    paused: bool = False
    stuck: bool = False
    peer_gone: bool = False
    _waiting: bytearray = attrs.field(factory=bytearray)
    _owes_drained: bool = False
    _peer_ended: bool = False

    @property
    def pending(self) -> int:
        return len(self._waiting)

    def untaken(self) -> int:
        return len(self._waiting)

    def send(self, data: bytes) -> bool:
        if self.state == "open":
            self._waiting += data
            if not self.stuck:
                self._flush()
        full = len(self._waiting) > self.HIGH_WATER
        self._owes_drained = self._owes_drained or full
        return not full

    def send_file(self, fd: int, offset: int, count: int) -> tuple[int, bool]:
        return send_read(self, fd, offset, count)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def finish(self) -> None:
        if self.state == "open":
            self.state = "finished"
            self._owes_drained = True

    def send_last(self, data: bytes) -> None:
        self.send(data)
        self.finish()

    def close(self) -> None:
        if self.state != "aborted":
            self.state = "closed"

    def discard(self) -> None:
        self.user = Unheard()
        self.close()

    def abort(self) -> None:
        self.state = "aborted"
        self._waiting.clear()

    def alive(self) -> bool:
        return not self.peer_gone and self.user is not None and self.state == "open"

    # What a test does

    def settle(self) -> None:
        """Let the kernel take what waits, and tell what follows of it."""
        if self.user is None:
            return
        if not self.stuck:
            self._flush()
        if self.state == "aborted" or (self.state == "closed" and not self._waiting):
            self.lose()
        elif self._owes_drained and not self._waiting and self.state != "closed":
            self._owes_drained = False
            self.user.drained()

    def receive(self, data: bytes) -> None:
        """Let bytes of the peer come, unless nothing is read any more."""
        if self._is_read() and self.user is not None:
            self.user.received(data)

    def end(self) -> None:
        """Let the peer end its direction."""
        if self._is_read() and self.user is not None:
            self._peer_ended = True
            self.user.ended()

    def lose(self) -> None:
        """Lose the connection."""
        user, self.user = self.user, None
        if self.state == "open":
            self.state = "aborted"
        if user is not None:
            user.lost()

    def _is_read(self) -> bool:
        return self.state in ("open", "finished") and not self._peer_ended

    def _flush(self) -> None:
        self.sent += self._waiting
        self._waiting.clear()


@attrs.define(eq=False)
class Attempt:
    """A connection that `FakeConnector` was asked for."""

    upstream: Upstream
    connected: Callable[[Wire], WireUser]
    failed: Callable[[bool], None]
    open: bool = True

    def succeed(self, stuck: bool = False) -> FakeWire:
        """Let it come about; return its wire."""
        self.open = False
        wire = FakeWire(stuck=stuck)
        wire.user = self.connected(wire)
        return wire

    def fail(self, busy: bool = False) -> None:
        """Let it fail."""
        self.open = False
        self.failed(busy)

    def cancel(self) -> None:
        """Give it up."""
        self.open = False


@attrs.define(eq=False)
class FakeConnector:
    """A `Connector` whose attempts a test decides.

    `at_once`: they come about at once, as on loopback, and `wires` has their ends (`stuck`, if
    that is set).
    """

    attempts: list[Attempt] = attrs.field(factory=list)
    at_once: bool = False
    stuck: bool = False
    wires: list[FakeWire] = attrs.field(factory=list)

    def connect(
        self,
        upstream: Upstream,
        connected: Callable[[Wire], WireUser],
        failed: Callable[[bool], None],
    ) -> Callable[[], None]:
        attempt = Attempt(upstream, connected, failed)
        if self.at_once:
            wire = attempt.succeed(self.stuck)
            self.wires.append(wire)
            return attempt.cancel
        self.attempts.append(attempt)
        return attempt.cancel

    def send_at_once(self, upstream: Upstream, data: bytes, user: WireUser) -> FakeWire | None:
        if not self.at_once:
            return None
        wire = FakeWire(user, stuck=self.stuck)
        wire.send(data)
        self.wires.append(wire)
        return wire

    def undecided(self) -> list[Attempt]:
        """Return the attempts that are neither over nor cancelled."""
        return [attempt for attempt in self.attempts if attempt.open]
