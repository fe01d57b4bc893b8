"""What instances use: measured again and again, kept for charts, and held against their limits.

Cheap figures come at each `monitor.interval`, of the leader and, for a command engine, of all in
its session. They count shared memory in full; so what counts for a limit is measured in detail,
at each `monitor.detail`, or at once when the cheap figures come near a limit. That is done in a
thread, as it takes as long as the instance is large.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Container, Mapping
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from sqsuper.config.model import Settings, Tenant
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import Event, Events, Kind
from sqsuper.supervisor.figures import Detail, Figures, Gauge, Sampler
from sqsuper.supervisor.instance import SERVING, Change, State
from sqsuper.supervisor.measuring import Job, Measured, Measuring
from sqsuper.supervisor.process import InstanceProcess, cancelled
from sqsuper.supervisor.samples import History, Series
from sqsuper.supervisor.sampling import Sessions
from sqsuper.supervisor.sweep import Entry, Sweep
from sqsuper.supervisor.watermarks import Finding, Watermarks, near

PHASE = (math.sqrt(5) - 1) / 2
# What is no matter of urgency is measured together with others: one process table for all.
GATHER = 2.0
# A closer look takes at most this part of one core's time.
CLOSER_SHARE = 0.02
# How often growth is judged, in minutes.
GROWTH_MINUTES = 10

WATCHED = frozenset({State.HEALTHY, State.UNHEALTHY, State.DRAINING})

InThread = Callable[[Callable[[], list[Measured]]], Deferred[list[Measured]]]


class Life(Protocol):
    """What is needed of a tenant's lifecycle."""

    @property
    def tenant(self) -> Tenant: ...
    @property
    def state(self) -> State: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def process(self) -> InstanceProcess | None: ...
    def condemn(self, cause: Cause, reason: str, *, drain: bool) -> None: ...


@attrs.frozen
class Samples:
    """What is known of a tenant's use, of this and of former instances.

    `recent`: 10 minutes as measured; `minutes`: a day of one a minute. `memory` in both is the
    proportional share, estimated between two details. `detail`: the last one, `detail_at`
    (the reactor's seconds); `processes`: how many the instance consists of.
    """

    recent: Series
    minutes: Series
    detail: Detail | None = None
    detail_at: float | None = None
    processes: int = 0


@attrs.define(eq=False)
class _Watch:
    """One instance that is measured."""

    life: Life
    process: InstanceProcess
    history: History
    marks: Watermarks
    gauge: Gauge
    """Of the leader."""
    since: float
    entry: Entry | None = None
    at: float | None = None
    cpu: float = 0.0
    pids: tuple[int, ...] = ()
    resident: int = 0
    memory: int | None = None
    detail: Detail | None = None
    detail_at: float | None = None
    detail_resident: int = 0
    """What was resident when the detail was measured: what came since is its own."""
    detail_due: float = 0.0
    closer_due: float = 0.0
    asked: bool = False
    """Whether its detail is being measured."""
    minutes: int = 0

    @property
    def settings(self) -> Settings:
        return self.life.tenant.settings


class Monitor:
    """Measures all instances; told of all changes of state (`became`).

    `in_thread(call)`: calls it in another thread, and fires with its result; by default in one
    of the reactor's.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        sweep: Sweep,
        events: Events,
        *,
        sampler: Sampler,
        sessions: Sessions,
        measuring: Measuring,
        in_thread: InThread | None = None,
    ) -> None:
        self._reactor = reactor
        self._sweep = sweep
        self._events = events
        self._sampler = sampler
        self._sessions = sessions
        self._measuring = measuring
        self._in_thread = in_thread or self._in_reactors_thread
        self._watches: dict[str, _Watch] = {}
        self._histories: dict[str, History] = {}
        self._marks: dict[str, Watermarks] = {}
        self._order = itertools.count(1)
        self._wanted: list[_Watch] = []
        self._gather_call: IDelayedCall | None = None

    def _in_reactors_thread(self, call: Callable[[], list[Measured]]) -> Deferred[list[Measured]]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call)

    def samples(self, tenant: str) -> Samples:
        """Return what was measured of a tenant; nothing of one that never ran."""
        history = self._histories.get(tenant) or History(1.0)
        watch = self._watches.get(tenant)
        recent, minutes = history.recent.series(), history.minutes.series()
        if watch is None:
            return Samples(recent, minutes)
        return Samples(recent, minutes, watch.detail, watch.detail_at, len(watch.pids))

    def recent(self, tenant: str, since: float = float("-inf")) -> Series | None:
        """Return what was measured in the last ten minutes, from `since` (the reactor's seconds).

        None of a tenant that never ran.
        """
        history = self._histories.get(tenant)
        return None if history is None else history.recent.series(since)

    def newest(self, tenant: str) -> tuple[int, float] | None:
        """Return threads and cpu as last measured; None of a tenant that never ran."""
        history = self._histories.get(tenant)
        return None if history is None else history.recent.newest()

    def detail(self, tenant: str) -> Detail | None:
        """Return the last costly figures of a running instance; None if there are none yet."""
        watch = self._watches.get(tenant)
        return None if watch is None else watch.detail

    def cpu(self, process: InstanceProcess) -> float | None:
        """Return the CPU time, in seconds, of a process and what is in its session."""
        pid = process.pid
        if pid is None:
            return None
        pids = (pid, *self._sessions.members(pid)) if process.forks else (pid,)
        found = [self._sampler.figures(pid) for pid in pids]
        return sum(figures.cpu for figures in found if figures is not None) if found[0] else None

    def stop(self) -> None:
        """Measure nothing any more."""
        self._gather_call = cancelled(self._gather_call)
        self._wanted.clear()
        for name in list(self._watches):
            self._forget(name)

    def memory(self, tenant: str) -> int | None:
        """Return the memory of a tenant's instance as last estimated; None if it was not yet."""
        watch = self._watches.get(tenant)
        return None if watch is None else watch.memory

    def forget_all_but(self, tenants: Container[str]) -> None:
        """Keep nothing of those that are no more."""
        for kept in (self._histories, self._marks):
            for name in [name for name in kept if name not in tenants]:
                del kept[name]

    def became(self, life: Life, change: Change) -> None:
        """Take a change of a tenant's state."""
        name = life.tenant.name
        watch = self._watches.get(name)
        process = life.process if change.after in WATCHED else None
        if watch is not None and watch.process is not process:
            self._forget(name)
            watch = None
        if watch is None and process is not None:
            self._begin(life, process)

    def pulse(self, life: Any, message: Mapping[str, object]) -> None:
        """Take what an embedded engine says of its storage."""
        storage = message.get("storage")
        if isinstance(storage, int):
            self.stored(life, storage)

    def stored(self, life: Any, storage: int) -> None:
        """Hold the bytes that a tenant's data takes against its quota."""
        quota = life.tenant.settings.quota_bytes
        marks = self._marks_of(life.tenant.name)
        self._found(life, Kind.QUOTA, marks.quota(quota, storage))

    def _begin(self, life: Life, process: InstanceProcess) -> None:
        name, settings = life.tenant.name, life.tenant.settings.monitor
        now = self._reactor.seconds()
        history = self._histories.get(name)
        if history is None:
            history = self._histories[name] = History(settings.interval)
        gauge = self._sampler.gauge(process.pid or 0)
        watch = _Watch(life, process, history, self._marks_of(name), gauge, now)
        phase = next(self._order) * PHASE % 1
        self._sweep.refine(settings.interval)
        watch.detail_due = now + settings.detail * phase
        watch.entry = self._sweep.add(
            now + settings.interval * phase, lambda at: self._look(watch, at)
        )
        self._watches[name] = watch

    def _marks_of(self, name: str) -> Watermarks:
        marks = self._marks.get(name)
        if marks is None:
            marks = self._marks[name] = Watermarks()
        return marks

    def _forget(self, name: str) -> None:
        watch = self._watches.pop(name)
        watch.history.end()
        watch.gauge.close()
        if watch.entry is not None:
            watch.entry.cancel()

    # Cheap figures

    def _look(self, watch: _Watch, now: float) -> float:
        """Measure one instance; return when to do so next."""
        settings = watch.settings
        total = self._figures(watch)
        if total is not None:
            self._take(watch, now, total)
        return now + settings.monitor.interval

    def _figures(self, watch: _Watch) -> Figures | None:
        """Return the sum over all of its processes; None when it has ended."""
        pid = watch.process.pid
        if pid is None:
            return None
        found = watch.gauge.figures()
        if found is None or not watch.process.forks:
            watch.pids = (pid,)
            return found
        others = self._sessions.members(pid)
        limit = watch.settings.limits.threads
        watch.pids = (pid, *others)
        if limit is not None and len(others) >= limit:
            # Each has a thread at least: no need to look at all that a fork bomb made.
            return Figures(found.cpu, found.threads + len(others), found.resident, found.shared)
        for other in others:
            more = self._sampler.figures(other)
            if more is not None:
                found = Figures(
                    found.cpu + more.cpu,
                    found.threads + more.threads,
                    found.resident + more.resident,
                    found.shared + more.shared,
                )
        return found

    def _take(self, watch: _Watch, now: float, figures: Figures) -> None:
        before, watch.at = watch.at, now
        used = 0.0
        if before is not None and now > before:
            # What descendants used is lost with them: no less than nothing.
            used = max(0.0, figures.cpu - watch.cpu) / (now - before)
        watch.cpu = figures.cpu
        watch.resident = figures.resident
        watch.memory = self._estimate(watch, figures)
        completed = watch.history.add(now, watch.memory, figures.threads, used)
        limits = watch.settings.limits
        self._found(watch.life, Kind.LIMIT, watch.marks.threads(limits, figures.threads))
        if completed:
            self._judge_growth(watch, now)
        if near(limits, figures.resident) and now >= watch.closer_due:
            self._want(watch, 0.0)
        elif now >= watch.detail_due:
            self._want(watch, GATHER)

    def _estimate(self, watch: _Watch, figures: Figures) -> int:
        if watch.detail is None:
            return max(0, figures.resident - figures.shared)
        return max(0, watch.detail.memory + figures.resident - watch.detail_resident)

    def _judge_growth(self, watch: _Watch, now: float) -> None:
        watch.minutes += 1
        if watch.minutes % GROWTH_MINUTES == 0:
            series = watch.history.minutes.series(watch.since)
            limits = watch.settings.limits
            finding = watch.marks.growth(limits, now, series.at, series.memory)
            self._found(watch.life, Kind.LIMIT, finding)

    # Detail

    def _want(self, watch: _Watch, within: float) -> None:
        """Have its detail measured soon, together with what else is wanted by then."""
        if not watch.asked:
            watch.asked = True
            self._wanted.append(watch)
        call = self._gather_call
        if call is not None and call.getTime() <= self._reactor.seconds() + within:
            return
        cancelled(call)
        self._gather_call = self._reactor.callLater(within, self._measure)

    def _measure(self) -> None:
        self._gather_call = None
        wanted, self._wanted = self._wanted, []
        jobs = [
            Job(watch.pids, watch.process.group if watch.process.forks else None)
            for watch in wanted
        ]
        resident = [watch.resident for watch in wanted]

        def take(found: list[Measured]) -> None:
            for watch, measured, before in zip(wanted, found, resident, strict=True):
                self._take_detail(watch, measured, before)

        def failed(failure: Failure) -> None:
            for watch in wanted:
                watch.asked = False
            self._log.failure("a measurement failed", failure)

        measured = self._in_thread(lambda: self._measuring.measure(jobs))
        measured.addCallbacks(take).addErrback(failed)

    def _take_detail(self, watch: _Watch, measured: Measured, resident: int) -> None:
        now = self._reactor.seconds()
        watch.asked = False
        watch.detail_due = now + watch.settings.monitor.detail
        watch.closer_due = now + measured.seconds / CLOSER_SHARE
        detail = measured.detail
        if self._watches.get(watch.life.tenant.name) is not watch or detail is None:
            return  # it has ended meanwhile
        watch.detail, watch.detail_at = detail, now
        watch.detail_resident = resident
        limits = watch.settings.limits
        self._found(watch.life, Kind.LIMIT, watch.marks.memory(limits, detail.memory))
        self._found(watch.life, Kind.LIMIT, watch.marks.threads(limits, measured.threads))

    # What follows

    def _found(self, life: Life, kind: Kind, finding: Finding | None) -> None:
        if finding is None:
            return
        if finding.fatal is not None and life.state not in SERVING:
            return  # it ends already
        name = life.tenant.name
        self._log.warn("{tenant}: {text}", tenant=name, text=finding.text)
        at = self._reactor.seconds()
        self._events.publish(Event(at, kind, name, finding.cause, finding.text, finding.facts))
        if finding.fatal is not None:
            life.condemn(finding.fatal, finding.text, drain=True)
