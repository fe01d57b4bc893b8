"""What the data of command engines' tenants takes: an embedded engine says so itself.

A directory is measured when the service and when the instance starts, soon after requests, and
at each `monitor.detail` while the instance runs or the data may not grow. That is done in a
thread, by a few files at a time and for one tenant at a time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from sqsuper.config.model import MIB, Settings, Tenant
from sqsuper.instances import Full
from sqsuper.supervisor import walk
from sqsuper.supervisor.instance import SERVING, Change, State
from sqsuper.supervisor.process import cancelled

# From the first request after a measure to the next one, in seconds: later where it takes long.
AFTER_USE = 1.0
# Of one core's time, while one tenant is used without a pause.
SHARE = 0.02
# Files in one piece of a measure, and in all: past that it is at least so much.
SLICE = 1000
MAX_FILES = 1_000_000


class Life(Protocol):
    """What is needed of a tenant's lifecycle."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def state(self) -> State: ...
    @property
    def is_embedded(self) -> bool: ...


@attrs.frozen
class Stored:
    """Bytes of all files, and of the largest one."""

    bytes: int
    largest: int


def full(settings: Settings, stored: Stored) -> Full | None:
    """Return why data that takes so much must not grow; None: it may."""
    quota = settings.quota_bytes
    if quota is not None and stored.bytes > quota:
        over = f"over quota: the data is {stored.bytes} bytes of {quota}; nothing changed"
        return Full("quota", over)
    limit = settings.max_phext_mb * MIB
    if stored.largest > limit:
        large = f"a phext is {stored.largest} bytes of {limit} allowed; nothing changed"
        return Full("phext_too_large", large)
    return None


@attrs.define(eq=False)
class _Watch:
    """One tenant's data."""

    life: Life
    directory: Path
    stored: Stored | None = None
    full: Full | None = None
    cost: float = 0.0
    """Seconds of the last measure."""
    queued: bool = False
    call: IDelayedCall | None = None


class _Measure:
    """One measure under way: sums up, in whichever thread it is called in."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sizes: Generator[int, None, None] = walk.sizes(directory)
        self._bytes = self._largest = self._files = 0
        self.seconds = 0.0

    def go_on(self) -> Stored | None:
        """Look at some more files; return what there is when those were the last."""
        begun = self._clock()
        found = list(islice(self._sizes, SLICE))
        self._bytes += sum(found)
        self._largest = max(self._largest, max(found, default=0))
        self._files += len(found)
        self.seconds += self._clock() - begun
        if len(found) == SLICE and self._files < MAX_FILES:
            return None
        self.close()
        return Stored(self._bytes, self._largest)

    def close(self) -> None:
        """Look no further."""
        self._sizes.close()


InThread = Callable[[Callable[[], "Stored | None"]], "Deferred[Stored | None]"]


class Storage:
    """Measures all that are `attend`ed; told of all changes of state (`became`).

    `listeners` are told (life, bytes) of each measure, `watchers` (tenant, `Full` or None) when
    that has changed. `in_thread(call)`: calls it in another thread, and fires with its result;
    by default in one of the reactor's. `clock`: seconds.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        in_thread: InThread | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reactor = reactor
        self._in_thread = in_thread or self._in_reactors_thread
        self._clock = clock
        self._watches: dict[str, _Watch] = {}
        self._queue: deque[_Watch] = deque()
        self._measuring = False
        self._serving = False
        self.listeners: list[Callable[[Life, int], None]] = []
        self.watchers: list[Callable[[str, Full | None], None]] = []

    def _in_reactors_thread(self, call: Callable[[], Stored | None]) -> Deferred[Stored | None]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call)

    def open(self, lives: Iterable[Life]) -> None:
        """Begin, with what these have stored."""
        self._serving = True
        self.attend(lives)

    def close(self) -> None:
        """Measure nothing any more."""
        self._serving = False
        for name in list(self._watches):
            self._forget(name)

    def attend(self, lives: Iterable[Life]) -> None:
        """Go on with these tenants, as they are configured now, and with no others."""
        if not self._serving:
            return
        wanted = {life.tenant.name: life for life in lives}
        for name in [name for name in self._watches if name not in wanted]:
            self._forget(name)
        for life in wanted.values():
            watch = self._attend(life)
            if watch is not None:
                self._judge(watch)

    def became(self, life: Life, change: Change) -> None:
        """Take a change of a tenant's state."""
        if change.after is State.HEALTHY and self._serving:
            watch = self._attend(life)
            if watch is not None:
                self._enqueue(watch)

    def _attend(self, life: Life) -> _Watch | None:
        """Return the watch of a command engine's data, a new one if that is elsewhere now."""
        name, directory = life.tenant.name, life.tenant.data_dir
        watch = self._watches.get(name)
        if watch is not None:
            if watch.life is life and watch.directory == directory and not life.is_embedded:
                return watch
            self._forget(name)
        if life.is_embedded:
            return None
        self._watches[name] = watch = _Watch(life, directory)
        self._enqueue(watch)
        return watch

    def used(self, tenant: str) -> None:
        """Take that a request was answered: perhaps a write."""
        watch = self._watches.get(tenant)
        if watch is not None and not watch.queued:
            self._within(watch, max(AFTER_USE, watch.cost / SHARE))

    def _forget(self, name: str) -> None:
        watch = self._watches.pop(name)
        watch.call = cancelled(watch.call)
        self._now(watch, None)

    def _within(self, watch: _Watch, seconds: float) -> None:
        """Measure in so many seconds, or before."""
        if watch.call is not None:
            if watch.call.getTime() <= self._reactor.seconds() + seconds:
                return
            watch.call.cancel()
        watch.call = self._reactor.callLater(seconds, self._due, watch)

    def _due(self, watch: _Watch) -> None:
        watch.call = None
        self._enqueue(watch)

    def _enqueue(self, watch: _Watch) -> None:
        watch.call = cancelled(watch.call)
        if not watch.queued:
            watch.queued = True
            self._queue.append(watch)
            self._next()

    def _next(self) -> None:
        if self._measuring or not self._queue:
            return
        self._measuring = True
        watch = self._queue.popleft()
        # What is written from here on may be missed, and is measured again.
        watch.queued = False
        self._go_on(watch, _Measure(watch.directory, self._clock))

    def _go_on(self, watch: _Watch, measure: _Measure) -> None:
        if not self._is_present(watch):
            measure.close()
            self._measured(watch, None)
            return

        def more(stored: Stored | None) -> None:
            if stored is None:
                self._go_on(watch, measure)
            else:
                watch.cost = measure.seconds
                self._measured(watch, stored)

        def failed(failure: Any) -> None:
            self._log.failure("a measurement of storage failed", failure)
            self._measured(watch, None)

        self._in_thread(measure.go_on).addCallbacks(more, failed)

    def _measured(self, watch: _Watch, stored: Stored | None) -> None:
        self._measuring = False
        if stored is not None and self._is_present(watch):
            watch.stored = stored
            for listener in self.listeners:
                listener(watch.life, stored.bytes)
            self._judge(watch)
        if self._is_present(watch) and (watch.full or watch.life.state in SERVING):
            self._within(watch, watch.life.tenant.settings.monitor.detail)
        self._next()

    def _is_present(self, watch: _Watch) -> bool:
        return self._watches.get(watch.life.tenant.name) is watch

    def _judge(self, watch: _Watch) -> None:
        if watch.stored is not None:
            self._now(watch, full(watch.life.tenant.settings, watch.stored))

    def _now(self, watch: _Watch, value: Full | None) -> None:
        if value != watch.full:
            watch.full = value
            for watcher in self.watchers:
                watcher(watch.life.tenant.name, value)
