"""Whether instances live: asks each of them, and tells what is to be done about it.

An embedded engine is asked over its control pipe, `{"ping": N}`, and answers from its event loop
what `Pulse` holds; a command engine is asked `OPTIONS /` on a connection of its own. When each is
asked is spread over the interval, and an instance that has just answered a real request is not
asked, but for what only an embedded engine itself knows, at each `monitor.detail`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
from twisted.logger import Logger

from sqsuper.config.model import Health, Tenant
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.instance import SERVING, Change, State
from sqsuper.supervisor.liveness import Liveness, Verdict
from sqsuper.supervisor.probe import Question
from sqsuper.supervisor.process import InstanceProcess
from sqsuper.supervisor.sweep import Entry, Sweep

# Golden section: however many there are, their times are spread evenly.
PHASE = (math.sqrt(5) - 1) / 2
# When the supervisor itself was held up for so long, answers may be waiting to be read.
HELD_UP = 0.2


class Life(Protocol):
    """What is needed of a tenant's lifecycle."""

    last_used: float

    @property
    def tenant(self) -> Tenant: ...
    @property
    def state(self) -> State: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def process(self) -> InstanceProcess | None: ...
    @property
    def is_embedded(self) -> bool: ...
    @property
    def port(self) -> int: ...
    def doubted(self, cause: Cause, reason: str) -> None: ...
    def recovered(self, reason: str) -> None: ...
    def condemn(self, cause: Cause, reason: str, *, drain: bool) -> None: ...


@attrs.frozen
class Pulse:
    """What an embedded engine said last, and `at` which time (the reactor's seconds).

    `lag`: seconds that its event loop was busy with one turn at most, since it said so before.
    `requests` answered and `bytes` moved at the tenant's own port. `inflight`: requests that it
    was working on. `storage`: bytes that count for the quota, None as long as that is not known.
    """

    at: float
    lag: float
    requests: int
    bytes: int
    inflight: int
    storage: int | None

    @classmethod
    def of(cls, message: Mapping[str, object], at: float) -> Pulse | None:
        """Return what a report line says; None if it is malformed."""
        lag, storage = message.get("lag"), message.get("storage")
        requests, moved = message.get("requests"), message.get("bytes")
        inflight = message.get("inflight")
        if not isinstance(lag, (int, float)) or not (storage is None or isinstance(storage, int)):
            return None
        if not (isinstance(requests, int) and isinstance(moved, int) and isinstance(inflight, int)):
            return None
        return cls(at, float(lag), requests, moved, inflight, storage)


@attrs.frozen
class Vitals:
    """How a tenant's running instance does.

    `answered_at`: when it last answered a probe, `took` seconds after it was asked (None: not
    yet). `missed`: probes in a row without an answer. `busy`: it misses them as it works.
    """

    answered_at: float | None
    took: float | None
    missed: int
    busy: bool
    pulse: Pulse | None


@attrs.define(eq=False)
class _Probe:
    """One probe under way: looked at when half of its time is over, and at the end of it."""

    watch: _Watch
    number: int
    asked: float
    question: Question | None = None
    halfway: bool = False
    cpu: float | None = None
    """The instance's CPU time halfway."""
    spared: bool = False
    """Whether it was given more time, as we were held up."""
    entry: Entry | None = None


@attrs.define(eq=False)
class _Watch:
    """One epoch that is watched."""

    life: Life
    process: InstanceProcess
    asked: bool = False
    """Whether there was a probe."""
    liveness: Liveness = attrs.field(factory=Liveness)
    probes: dict[int, _Probe] = attrs.field(factory=dict)
    answered_at: float | None = None
    took: float | None = None
    pulse: Pulse | None = None
    entry: Entry | None = None
    due: float = 0.0
    """When it is to be asked next: counted from there, so that lateness does not add up."""

    def must_be_asked(self, now: float) -> bool:
        """Whether it is asked even though it answers real requests."""
        if not self.asked:
            return True  # the first probe gives the later ones their time
        if not self.life.is_embedded:
            return False
        known = 0.0 if self.pulse is None else self.pulse.at
        return now - known >= self.life.tenant.settings.monitor.detail

    @property
    def settings(self) -> Health:
        return self.life.tenant.settings.health


class HealthWatch:
    """Watches all instances that take requests; told of all changes of state (`became`).

    `inflight(tenant)`: how many requests the gateway has under way there. `cpu(process)`: the
    CPU time of an instance so far, in seconds, None if that is not known.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        sweep: Sweep,
        *,
        cpu: Callable[[InstanceProcess], float | None],
        ask: Callable[[int, Callable[[bool], None]], Question] | None = None,
    ) -> None:
        """`ask(port, told)`: puts a `Question`."""
        self.inflight: Callable[[str], int] = lambda _: 0
        self.listeners: list[Callable[[Life, Mapping[str, object]], None]] = []
        """Called with what an embedded engine says in answer to a ping, as it says it."""
        self._reactor = reactor
        self._sweep = sweep
        self._cpu = cpu
        self._ask_port = ask or (lambda port, told: Question(reactor, port, told))
        self._watches: dict[str, _Watch] = {}
        self._numbers = itertools.count(1)
        self._order = itertools.count(1)

    def of(self, tenant: str) -> Vitals | None:
        """Return how the tenant's instance does; None while there is none that takes requests."""
        watch = self._watches.get(tenant)
        if watch is None:
            return None
        liveness = watch.liveness
        busy = liveness.busy_since is not None
        return Vitals(watch.answered_at, watch.took, liveness.missed, busy, watch.pulse)

    def ask(self, life: Life) -> bool:
        """Ask an instance at once, beside its regular probes; what it says goes to `listeners`.

        Returns False when it is none that says anything.
        """
        watch = self._watches.get(life.tenant.name)
        if watch is None or not watch.life.is_embedded:
            return False
        self._put(watch, self._reactor.seconds())
        return True

    def stop(self) -> None:
        """Watch nobody any more."""
        for name in list(self._watches):
            self._forget(name)

    def became(self, life: Life, change: Change) -> None:
        """Take a change of a tenant's state."""
        name = life.tenant.name
        watch = self._watches.get(name)
        if change.after not in SERVING:
            if watch is not None:
                self._forget(name)
            return
        process = life.process
        if watch is None or watch.process is not process:
            if watch is not None:
                self._forget(name)
            if process is None:
                return
            watch = self._begin(life, process)
        if change.after is State.UNHEALTHY:
            watch.liveness.doubted(change.at)
            self._look_at(watch, change.at)
        else:
            watch.liveness.trusted()

    def _begin(self, life: Life, process: InstanceProcess) -> _Watch:
        now = self._reactor.seconds()
        watch = _Watch(life, process)
        self._watches[life.tenant.name] = watch
        process.heard = lambda message: self._heard(watch, message)
        phase = next(self._order) * PHASE % 1
        self._sweep.refine(min(watch.settings.interval, watch.settings.timeout))
        self._look_at(watch, now + watch.settings.interval * phase)
        return watch

    def _look_at(self, watch: _Watch, due: float) -> None:
        if watch.entry is not None:
            watch.entry.cancel()
        watch.due = due
        # Rather too early than too late, which would put off that it is found to hang.
        early = self._sweep.grid
        watch.entry = self._sweep.add(due - early, lambda now: self._look(watch, now) - early)

    def _forget(self, name: str) -> None:
        watch = self._watches.pop(name)
        watch.process.heard = None
        if watch.entry is not None:
            watch.entry.cancel()
        self._settle(watch)

    # Asking

    def _look(self, watch: _Watch, now: float) -> float:
        """Ask, if it is time; return when to ask next."""
        pause = watch.liveness.pause(watch.settings)
        in_doubt = watch.liveness.doubted_since is not None
        used = watch.life.last_used
        if not in_doubt and watch.due < used + pause and not watch.must_be_asked(now):
            watch.due = used + pause
            return watch.due
        if not (in_doubt and watch.probes):
            self._put(watch, now)
        watch.due = (watch.due if now < watch.due + pause else now) + pause
        return watch.due

    def _put(self, watch: _Watch, now: float) -> None:
        number = next(self._numbers)
        probe = _Probe(watch, number, now)
        watch.probes[number] = probe
        watch.asked = True
        probe.entry = self._sweep.add(
            now + watch.settings.timeout / 2, lambda at: self._waits(probe, at)
        )
        if watch.life.is_embedded:
            # It wakes up another process, which takes the core from the looks that are to come.
            self._sweep.afterwards(lambda: watch.process.ask(b'{"ping": %d}' % number))
            return
        probe.question = self._ask_port(
            watch.life.port, lambda answered: self._told(probe, answered)
        )

    def _waits(self, probe: _Probe, now: float) -> float | None:
        """Look at a probe that is not answered yet."""
        watch = probe.watch
        if watch.probes.get(probe.number) is not probe:
            return None
        settings = watch.settings
        if not probe.halfway:
            probe.halfway = True
            probe.cpu = self._cpu(watch.process)
            return probe.asked + settings.timeout
        if self._sweep.late >= HELD_UP and not probe.spared:
            # What it has answered is read before this is looked at again.
            probe.spared = True
            return now + min(self._sweep.late, settings.timeout)
        if watch.life.last_used > probe.asked:
            self._settle(watch)
            watch.liveness.answered(settings)
            return None
        before, cpu = probe.cpu, self._cpu(watch.process)
        advances = before is not None and cpu is not None and cpu > before
        self._missed(probe, now, advances=advances)
        return None

    def _drop(self, probe: _Probe) -> None:
        probe.watch.probes.pop(probe.number, None)
        if probe.entry is not None:
            probe.entry.cancel()
        if probe.question is not None:
            probe.question.cancel()

    def _settle(self, watch: _Watch) -> None:
        """It showed that it lives, after all that it was asked; or nobody wants to know."""
        for probe in list(watch.probes.values()):
            self._drop(probe)

    # What it says, or does not

    def _told(self, probe: _Probe, answered: bool) -> None:
        if probe.watch.probes.get(probe.number) is not probe:
            return
        now = self._reactor.seconds()
        if answered:
            self._answered(probe.watch, now, probe)
        else:
            self._missed(probe, now, advances=False)

    def _heard(self, watch: _Watch, message: Mapping[str, object]) -> None:
        if message.get("event") != "pong":
            return
        now = self._reactor.seconds()
        pulse = Pulse.of(message, now)
        if pulse is None:
            self._log.warn("{tenant}: a malformed pong", tenant=watch.life.tenant.name)
            return
        watch.pulse = pulse
        number = message.get("ping")
        probe = watch.probes.get(number) if isinstance(number, int) else None
        self._answered(watch, now, probe)
        for listener in self.listeners:
            listener(watch.life, message)

    def _answered(self, watch: _Watch, now: float, probe: _Probe | None) -> None:
        """Take an answer: to `probe`, or to one that was given up."""
        watch.answered_at = now
        if probe is not None:
            watch.took = now - probe.asked
        self._settle(watch)
        trusted = watch.liveness.answered(watch.settings)
        if trusted and watch.life.state is State.UNHEALTHY:
            watch.life.recovered("it answers again")

    def _missed(self, probe: _Probe, now: float, *, advances: bool) -> None:
        watch = probe.watch
        self._drop(probe)
        name = watch.life.tenant.name
        settings, liveness = watch.settings, watch.liveness
        works = advances and (
            self.inflight(name) > 0 or (watch.pulse is not None and watch.pulse.inflight > 0)
        )
        was_busy = liveness.busy_since is not None
        verdict = liveness.miss(settings, probe.asked, now, works=works)
        if verdict is Verdict.BUSY and not was_busy:
            self._log.info("{tenant}: too busy to answer a probe", tenant=name)
        if verdict is not Verdict.DEAD:
            return
        if works:
            reason = f"busy for over {settings.busy_max:g} s without an answer to a probe"
        elif liveness.missed == 1:
            reason = f"no answer to a probe within {settings.timeout:g} s"
        else:
            reason = f"no answer to {liveness.missed} probes in a row"
        watch.life.doubted(Cause.PROBE, reason)
        watch.life.condemn(Cause.PROBE, reason, drain=False)
