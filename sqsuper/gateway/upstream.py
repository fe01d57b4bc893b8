"""One tenant's instance as the gateway sees it: slots, the queue for them, connections."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from sqsuper.gateway.wire import Connector, Wire
from sqsuper.instances import Instances, Unavailable, Upstream, Wait

# How long a connection is kept without use. Over a Unix socket it is our own engine, which
# never ends an idle one; others end theirs when they like, so those are kept briefly.
IDLE_UNIX = 60.0
IDLE_TCP = 2.0


class Asker(Protocol):
    """An exchange that asks a pool for a slot and then for a connection."""

    def granted(self, upstream: Upstream) -> None:
        """Go on: a slot is taken, which `Pool.leave` gives back."""

    def turned_away(self, reason: Unavailable) -> None:
        """End: there is no instance, or too many wait for it. No slot is taken."""


class UpstreamUser(Protocol):
    """An exchange that uses a connection."""

    def answer_received(self, data: bytes) -> None: ...
    def upstream_drained(self) -> None: ...
    def upstream_ended(self) -> None: ...
    def upstream_lost(self) -> None: ...


class UpstreamConnection:
    """One connection to an instance: used by one exchange at a time, or idle in its pool."""

    __slots__ = ("idle_since", "pool", "upstream", "user", "wire")

    def __init__(self, pool: Pool, upstream: Upstream, wire: Wire) -> None:
        self.pool = pool
        self.upstream = upstream
        self.wire = wire
        self.user: UpstreamUser | None = None
        self.idle_since = 0.0

    def received(self, data: bytes) -> None:
        if self.user is not None:
            self.user.answer_received(data)
        else:
            # Nothing was asked: such bytes would be taken for the next request's answer.
            self.abort()

    def drained(self) -> None:
        if self.user is not None:
            self.user.upstream_drained()

    def ended(self) -> None:
        if self.user is not None:
            self.user.upstream_ended()
        else:
            self.abort()

    def lost(self) -> None:
        user, self.user = self.user, None
        if user is not None:
            user.upstream_lost()
        else:
            self.pool.forget(self)

    def abort(self) -> None:
        """Let go of the connection, whatever is under way on it."""
        self.user = None
        self.pool.forget(self)
        self.wire.abort()


class Pool:
    """Slots (`max_inflight`), the queue for them, and kept-alive connections of one tenant.

    A connection is only ever used for the epoch it was opened to.
    """

    def __init__(
        self,
        tenant: str,
        *,
        max_inflight: int,
        queue: int,
        queue_timeout: float,
        instances: Instances,
        connector: Connector,
        seconds: Callable[[], float],
    ) -> None:
        self.tenant = tenant
        self._max_inflight = max_inflight
        self._queue = queue
        self._queue_timeout = queue_timeout
        self._instances = instances
        self._connector = connector
        self._seconds = seconds
        self.inflight = 0
        self._starting: OrderedDict[Asker, Wait | None] = OrderedDict()
        self._waiting: OrderedDict[Asker, float] = OrderedDict()
        self._idle: deque[UpstreamConnection] = deque()

    def enter(self, asker: Asker) -> None:
        """Ask for a slot: `granted` or `turned_away` is called once, perhaps at once."""
        upstream = self._instances.ready(self.tenant)
        if upstream is not None and self.inflight < self._max_inflight and not self._waiting:
            self._grant(asker, upstream)
        elif len(self._starting) + len(self._waiting) >= self._queue:
            asker.turned_away(
                Unavailable("overloaded", f"{self._queue} requests are waiting already", 1)
            )
        elif upstream is not None:
            self._waiting[asker] = self._seconds() + self._queue_timeout
        else:
            self._start(asker)

    def withdraw(self, asker: Asker) -> None:
        """Ask no longer. Harmless when the asker does not wait."""
        self._waiting.pop(asker, None)
        wait = self._starting.pop(asker, None)
        if wait is not None:
            wait.cancel()

    def leave(self) -> None:
        """Give a slot back."""
        self.inflight -= 1
        self._serve()

    def open(
        self,
        upstream: Upstream,
        connected: Callable[[UpstreamConnection], None],
        failed: Callable[[], None],
    ) -> Callable[[], None]:
        """Give an idle connection to `upstream`, or open one; returns what cancels that.

        After `failed` the instance is told of; no byte was sent.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.upstream.epoch == upstream.epoch and connection.wire.alive():
                connected(connection)
                return _nothing
            connection.abort()

        def on_connected(wire: Wire) -> UpstreamConnection:
            connection = UpstreamConnection(self, upstream, wire)
            connected(connection)
            return connection

        def on_failed() -> None:
            self._instances.refused(upstream)
            failed()

        return self._connector.connect(upstream, on_connected, on_failed)

    def take_back(self, connection: UpstreamConnection, reusable: bool) -> None:
        """Take back a connection after a whole exchange, to keep it if it is `reusable`."""
        connection.user = None
        self._instances.used(connection.upstream)
        if reusable:
            connection.idle_since = self._seconds()
            self._idle.append(connection)
        else:
            connection.wire.close()

    def forget(self, connection: UpstreamConnection) -> None:
        """Keep no longer a connection that is gone. Harmless when it is not idle."""
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Turn away who waited too long; close what was idle too long."""
        while self._waiting:
            asker, deadline = next(iter(self._waiting.items()))
            if deadline > now:
                break
            del self._waiting[asker]
            asker.turned_away(
                Unavailable("overloaded", f"no free slot within {self._queue_timeout:g} s", 1)
            )
        for connection in [c for c in self._idle if self._stale(c, now)]:
            connection.abort()

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop().abort()

    def _stale(self, connection: UpstreamConnection, now: float) -> bool:
        limit = IDLE_TCP if connection.upstream.path is None else IDLE_UNIX
        return now - connection.idle_since > limit

    def _start(self, asker: Asker) -> None:
        self._starting[asker] = None

        def outcome(result: Upstream | Unavailable) -> None:
            if asker not in self._starting:
                return
            del self._starting[asker]
            if isinstance(result, Unavailable):
                asker.turned_away(result)
            elif self.inflight < self._max_inflight and not self._waiting:
                self._grant(asker, result)
            else:
                self._waiting[asker] = self._seconds() + self._queue_timeout

        wait = self._instances.wait(self.tenant, outcome)
        if asker in self._starting:
            self._starting[asker] = wait

    def _serve(self) -> None:
        while self._waiting and self.inflight < self._max_inflight:
            upstream = self._instances.ready(self.tenant)
            asker, _deadline = self._waiting.popitem(last=False)
            if upstream is None:
                self._start(asker)
            else:
                self._grant(asker, upstream)

    def _grant(self, asker: Asker, upstream: Upstream) -> None:
        self.inflight += 1
        asker.granted(upstream)


def _nothing() -> None:
    pass
