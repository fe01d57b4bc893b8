"""One tenant's instance as the gateway sees it: slots, the queue for them, connections."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from twisted.logger import Logger

from sqsuper.config.model import Settings
from sqsuper.gateway.asking import Asker, Holder, Slots
from sqsuper.gateway.endings import AFTER_ANSWER, WITHOUT_ANSWER, Endings
from sqsuper.gateway.memo import KnownAnswers
from sqsuper.gateway.statistics import COLD_STARTS, ColdStarts, Row, new_row
from sqsuper.gateway.upstream_connection import UpstreamConnection, UpstreamUser
from sqsuper.gateway.wire import Connector, Wire
from sqsuper.instances import Instances, Unavailable, Upstream, Wait

# How long a connection is kept without use. Over a Unix socket it is our own engine, which
# never ends an idle one; others end theirs when they like, so those are kept briefly.
IDLE_UNIX = 60.0
IDLE_TCP = 2.0

log = Logger()


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
        later: Callable[[float, Callable[[], None]], Callable[[], None]],
        slots: Slots | None = None,
        known_answers: KnownAnswers | None = None,
        counts: Row | None = None,
    ) -> None:
        """With `slots` there are none before it gives some (`resize`).

        `counts`: where the tenant's requests are counted (see `statistics`).
        `later(delay, call)` calls once, after so many of `seconds`; it returns what cancels it.
        """
        self.tenant = tenant
        self._max_inflight = max_inflight if slots is None else 0
        self._slots = slots
        self._queue = queue
        self.queue_timeout = queue_timeout
        self._instances = instances
        self._connector = connector
        self._seconds = seconds
        self._holding: set[Holder] = set()
        self._starting: OrderedDict[Asker, Wait | None] = OrderedDict()
        self._waiting: OrderedDict[Asker, float] = OrderedDict()
        self._idle: deque[UpstreamConnection] = deque()
        self._serving = False
        self._when_quiet: list[Callable[[], None]] = []
        self._endings = Endings(self.leave, seconds, later)
        self._endings.slots = self._max_inflight
        self.known_answers = KnownAnswers() if known_answers is None else known_answers
        self.counts = new_row() if counts is None else counts
        self._cold_starts = ColdStarts()
        # Whom the supervisor was told of since the last sweep, and when it was used again.
        self._told_used: Upstream | None = None
        self._used_at: float | None = None
        if slots is not None:
            slots.serve(self)

    @property
    def inflight(self) -> int:
        """How many slots are taken."""
        return len(self._holding)

    @property
    def waiting(self) -> int:
        """How many requests wait, for a slot or for an instance to start."""
        return len(self._waiting) + len(self._starting)

    def resize(self, max_inflight: int, queue: int) -> None:
        """Have so many slots and places to wait from now on; who has one keeps it."""
        self._max_inflight = self._endings.slots = max_inflight
        self._queue = queue
        self._serve()

    def adjust(self, settings: Settings) -> None:
        """Go on with other settings. With `slots`, those give the numbers of slots and places."""
        self.queue_timeout = settings.queue_timeout
        if self._slots is None:
            self.resize(settings.max_inflight, settings.queue)

    def when_quiet(self, call: Callable[[], None]) -> None:
        """Call `call` once when nobody has a slot: at once, or when the last is given back."""
        if self._holding:
            self._when_quiet.append(call)
        else:
            call()

    def enter(self, asker: Asker, again: bool = False) -> None:
        """Ask for a slot: `granted` or `turned_away` is called once, perhaps at once.

        `again`: it had one before, and goes before those who had none.
        """
        upstream = self._instances.ready(self.tenant)
        if upstream is not None and self._has_room():
            self._grant(asker, upstream)
        elif not again and len(self._starting) + len(self._waiting) >= self._queue:
            reason = f"{self._queue} requests are waiting already"
            self._turn_away(asker, Unavailable("overloaded", reason, 1))
        elif upstream is not None:
            self._wait_for_slot(asker)
            self._waiting.move_to_end(asker, last=not again)
        else:
            self._start(asker)

    def at_once(self) -> Upstream | None:
        """Return the instance that a request could be sent to now, without any wait; or None.

        Nothing is taken yet: see `send_at_once`.
        """
        if self._waiting or len(self._holding) >= self._max_inflight:
            return None
        return self._instances.ready(self.tenant)

    def send_at_once(
        self, upstream: Upstream, data: bytes, user: UpstreamUser
    ) -> UpstreamConnection | None:
        """Send a whole request on an idle or new connection to what `at_once` just returned.

        None: neither is there without a wait, and nothing was sent. Else the connection is
        `user`'s, and so is a slot, which `done` or `leave` gives back.
        """
        idle = self._idle
        if idle:
            connection = idle[-1]
            wire = connection.wire
            if upstream.epoch != connection.upstream.epoch or not wire.alive():
                return None
            idle.pop()
            wire.send(data)
        else:
            connection = UpstreamConnection(self, upstream)
            opened = self._connector.send_at_once(upstream, data, connection)
            if opened is None:
                return None
            connection.wire = opened
            self._cold_starts.used(upstream.epoch)
        self._holding.add(user)
        connection.user = user
        return connection

    def done(
        self, holder: Holder, connection: UpstreamConnection, reusable: bool, now: float
    ) -> None:
        """Take back a connection after a whole answer, and the slot of `holder`.

        `reusable`, `now`: see `take_back`.
        """
        if reusable and not self._waiting:
            connection.user = None
            self._tell_used(connection.upstream, now)
            connection.idle_since = now
            self._idle.append(connection)
        else:
            self.take_back(connection, reusable, holder, now)
        self.leave(holder)

    def hand_on(self, holder: Holder, other: Holder) -> None:
        """Let `other` have the slot that `holder` has."""
        self._holding.remove(holder)
        self._holding.add(other)

    def withdraw(self, asker: Asker) -> None:
        """Ask no longer. Harmless when the asker does not wait."""
        waited = bool(self._waiting) and self._waiting.pop(asker, None) is not None
        if self._starting and asker in self._starting:
            waited = True
            wait = self._starting.pop(asker)
            if wait is not None:
                wait.cancel()
        if waited and self._slots is not None:
            self._slots.released()

    def leave(self, holder: Holder) -> None:
        """Give the slot back that `holder` has. Harmless when it has none."""
        if holder in self._holding:
            self._holding.remove(holder)
            if self._slots is not None:
                self._slots.released()
            if self._waiting:
                self._serve()
            if self._when_quiet and not self._holding:
                calls, self._when_quiet = self._when_quiet, []
                for call in calls:
                    call()

    def open(self, asker: Asker, upstream: Upstream) -> Callable[[], None]:
        """Give `asker`, by `connected`, a connection to `upstream`: an idle or a new one.

        Or call its `refused`, once the instance was told of it; no byte was sent then.
        Returns what cancels the attempt.
        """
        while self._idle:
            idle = self._idle.pop()
            if idle.upstream.epoch == upstream.epoch and idle.wire.alive():
                self._hand_over(asker, idle)
                return _nothing
            idle.abort()

        def connected(wire: Wire) -> UpstreamConnection:
            connection = UpstreamConnection(self, upstream)
            connection.wire = wire
            self._hand_over(asker, connection)
            return connection

        def failed(busy: bool) -> None:
            if not busy:
                self._instances.refused(upstream)
            try:
                asker.refused(busy)
            except Exception:
                self._crashed(asker)

        return self._connector.connect(upstream, connected, failed)

    def take_back(
        self,
        connection: UpstreamConnection,
        reusable: bool,
        holder: Holder | None = None,
        now: float | None = None,
    ) -> None:
        """Take back a connection after a whole answer, to keep it if it is `reusable`.

        When others wait for its slot, an instance with a thread a connection keeps the one of
        `holder` until that thread is over. `now`: what the time is, from who knows it.
        """
        connection.user = None
        if now is None:
            now = self._seconds()
        self._tell_used(connection.upstream, now)
        if (
            not reusable
            and self._waiting
            and holder in self._holding
            and _has_threads(connection.upstream)
            and not connection.wire.pending
        ):
            self.hand_on(holder, self._endings.await_end(connection, AFTER_ANSWER))
        elif reusable:
            connection.idle_since = now
            self._idle.append(connection)
        elif connection.wire.pending:
            # It was answered before it was sent: the rest would be waited for to leave.
            connection.wire.abort()
        else:
            connection.wire.discard()

    def abandon(self, holder: Holder, connection: UpstreamConnection, asked: bool) -> None:
        """Let go of a connection without a whole answer; `holder` has the slot no longer.

        `asked`: the request is whole and nothing of its answer came. Then an instance with a
        thread a connection is at work on it, and keeps the slot while it is.
        """
        if not _has_threads(connection.upstream) or holder not in self._holding:
            connection.abort()
        elif asked:
            self.hand_on(holder, self._endings.await_end(connection, WITHOUT_ANSWER))
        else:
            connection.abort()
            if self._waiting:
                self.hand_on(holder, self._endings.afterwards())

    def _tell_used(self, upstream: Upstream, now: float) -> None:
        """Tell the supervisor that an instance was used: at once, but no more than once a sweep."""
        if upstream is self._told_used:
            self._used_at = now
        else:
            self._told_used, self._used_at = upstream, None
            self._instances.used(upstream)

    def forget(self, connection: UpstreamConnection) -> None:
        """Keep no longer a connection that is gone. Harmless when it is not idle."""
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Turn away who waited too long; close what was idle too long."""
        reason = Unavailable("overloaded", f"no free slot within {self.queue_timeout:g} s", 1)
        for asker in [a for a, deadline in self._waiting.items() if deadline <= now]:
            if self._waiting.pop(asker, None) is not None:
                self._turn_away(asker, reason)
        for connection in [c for c in self._idle if self._stale(c, now)]:
            connection.abort()
        self._endings.sweep(now)
        told, at = self._told_used, self._used_at
        self._told_used = self._used_at = None
        if told is not None and at is not None:
            self._instances.used(told, now - at)

    def close(self) -> None:
        """Close every idle connection, and those whose end is waited for."""
        while self._idle:
            self._idle.pop().abort()
        self._endings.close()

    def _stale(self, connection: UpstreamConnection, now: float) -> bool:
        limit = IDLE_TCP if connection.upstream.path is None else IDLE_UNIX
        return now - connection.idle_since > limit

    def _start(self, asker: Asker) -> None:
        self._starting[asker] = None
        if self._slots is not None:
            self._slots.wanted()

        def outcome(result: Upstream | Unavailable) -> None:
            if asker not in self._starting:
                return
            del self._starting[asker]
            if isinstance(result, Unavailable):
                self._turn_away(asker, result)
                return
            if self._cold_starts.waited(result.epoch):
                self.counts[COLD_STARTS] += 1
            if self._has_room():
                self._grant(asker, result)
            else:
                self._wait_for_slot(asker)

        wait = self._instances.wait(self.tenant, outcome)
        if asker in self._starting:
            self._starting[asker] = wait

    def _has_room(self) -> bool:
        return len(self._holding) < self._max_inflight and not self._waiting

    def _wait_for_slot(self, asker: Asker) -> None:
        self._waiting[asker] = self._seconds() + self.queue_timeout
        if self._slots is not None:
            self._slots.wanted()

    def _serve(self) -> None:
        # A turn may give its slot back at once: then the loop, not the stack, goes deeper.
        if self._serving:
            return
        self._serving = True
        try:
            while self._waiting and self.inflight < self._max_inflight:
                upstream = self._instances.ready(self.tenant)
                asker, _deadline = self._waiting.popitem(last=False)
                if upstream is None:
                    try:
                        self._start(asker)
                    except Exception:
                        self._crashed(asker)
                else:
                    self._grant(asker, upstream)
        finally:
            self._serving = False

    def _grant(self, asker: Asker, upstream: Upstream) -> None:
        self._holding.add(asker)
        self._cold_starts.used(upstream.epoch)
        try:
            asker.granted(upstream)
        except Exception:
            self._crashed(asker)

    def _turn_away(self, asker: Asker, reason: Unavailable) -> None:
        if self._slots is not None:
            self._slots.released()
        try:
            asker.turned_away(reason)
        except Exception:
            self._crashed(asker)

    def _hand_over(self, asker: Asker, connection: UpstreamConnection) -> None:
        try:
            asker.connected(connection)
        except Exception:
            self._crashed(asker)
        if connection.user is None:
            connection.abort()

    def _crashed(self, asker: Asker) -> None:
        """Log the exception at hand: one exchange's defect must not end another's call to us."""
        log.failure("tenant {tenant}: a request's exchange failed", tenant=self.tenant)
        asker.crashed()
        self.leave(asker)


def _has_threads(upstream: Upstream) -> bool:
    # The embedded engine, which has none, is reached by a Unix socket.
    return upstream.path is None


def _nothing() -> None:
    pass
