"""Stopping lazy tenants that nobody uses: after `idle_stop`, or sooner when memory runs low.

Use is requests and bytes, at the gateway and at the tenant's own port, never open connections.
When a tenant was used last is a number that each request sets; one sweep looks at all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from sqsuper.config.model import HostMemory, Start, Tenant
from sqsuper.instances import Unavailable
from sqsuper.supervisor.hostmemory import Admission, Memory, Relief
from sqsuper.supervisor.instance import Change, State
from sqsuper.supervisor.process import cancelled

SOONEST = 0.05
LATEST = 5.0
MEASURE_INTERVAL = 1.0
AGAIN = 0.2
"""After stops for the sake of memory have ended, until it is measured again."""
JUST_USED = 2.0
"""Whoever was used so lately is not stopped for the sake of memory."""
AT_ONCE = 0.25
"""A question that is answered later had to wait for a request to end."""
PATIENCE = 10.0
"""For an instance's own word on its use; then it is asked anew."""
REFUSED_RETRY = 5


class Used(Protocol):
    """A tenant's lifecycle, as far as its use is concerned."""

    last_used: float

    @property
    def tenant(self) -> Tenant: ...


class Life(Used, Protocol):
    """What is needed of a tenant's lifecycle."""

    @property
    def state(self) -> State: ...
    def stop(self, reason: str) -> Deferred[None]: ...


@attrs.define
class Served:
    """What one process said last about its use."""

    requests: int = 0
    bytes: int = 0

    def says(self, pong: Mapping[str, object]) -> bool:
        """Take what it says now; return whether it was used since, or is in use.

        `pong`: `requests` and `bytes` of the tenant's own port since the process began, and
        `inflight` requests.
        """
        requests, count = _number(pong, "requests"), _number(pong, "bytes")
        used = (requests, count) != (self.requests, self.bytes)
        self.requests, self.bytes = requests, count
        return used or _number(pong, "inflight") > 0


def _number(pong: Mapping[str, object], key: str) -> int:
    value = pong.get(key)
    return value if isinstance(value, int) else 0


def seconds_left(tenant: Tenant, last_used: float, now: float) -> float:
    """Return how long a running tenant may stay unused, from now on; may be infinite."""
    settings = tenant.settings
    if settings.start is not Start.LAZY or settings.idle_stop is None:
        return math.inf
    return last_used + settings.idle_stop - now


def least_recently_used(lives: Iterable[Life], now: float) -> list[Life]:
    """Return the lazy ones that are not in use, those unused for longest first."""
    idle = [
        life
        for life in lives
        if life.tenant.settings.start is Start.LAZY
        and life.state is State.HEALTHY
        and now - life.last_used >= JUST_USED
    ]
    return sorted(idle, key=lambda life: life.last_used)


@attrs.define(eq=False)
class _Question:
    """Whether a tenant is really unused: `since` is when it was used last as far as known."""

    life: Life
    since: float
    asked: float
    reason: str
    stopped: Deferred[None]
    quiet: bool = False
    """Whether no request of the gateway's is under way; then its own port is asked about."""


class Idle:
    """Stops what is unused; one for the service, told of all changes of state (`became`).

    `quiet(tenant)` fires when no request of the gateway's is under way; `ask(tenant)` has
    the instance say what its own port served, which comes to `pong`, and returns False where
    there is no such instance or port.
    """

    _log = Logger()

    def __init__(
        self,
        settings: HostMemory,
        *,
        reactor: Any,
        quiet: Callable[[str], Deferred[None]],
        ask: Callable[[str], bool],
        read: Callable[[], Memory | None],
    ) -> None:
        self._reactor = reactor
        self._quiet = quiet
        self._ask = ask
        self._read = read
        self._running: dict[str, Life] = {}
        self._served: dict[str, Served] = {}
        self._questions: dict[str, _Question] = {}
        self._relieving = False
        self._measured_at = -math.inf
        self._call: IDelayedCall | None = None
        self._again_call: IDelayedCall | None = None
        self._closed = True
        self._settings: HostMemory | None = None
        self._relief: Relief | None = None
        self._admission: Admission | None = None
        self.apply(settings)

    def apply(self, settings: HostMemory) -> None:
        """Go on with other thresholds."""
        if settings == self._settings:
            return
        self._settings = settings
        stop_idle, refuse = settings.stop_idle, settings.refuse
        self._relief = None if stop_idle is None else Relief(stop_idle)
        self._admission = (
            None if refuse is None else Admission(refuse, self._read, self._reactor.seconds)
        )

    def open(self) -> None:
        """The service starts."""
        self._closed = False

    def close(self) -> None:
        """Stop nobody any more: the service stops."""
        self._closed = True
        self._call = cancelled(self._call)
        self._again_call = cancelled(self._again_call)
        self._relieving = False
        self._questions.clear()
        self._running.clear()

    def refusal(self) -> Unavailable | None:
        """Return why no stopped tenant may be started now, None when one may."""
        memory = None if self._admission is None else self._admission.refused()
        if memory is None:
            return None
        return Unavailable("overloaded", f"no start for now: {memory}", REFUSED_RETRY)

    # What is told

    def became(self, life: Life, change: Change) -> None:
        """Take a change of a tenant's state."""
        name = life.tenant.name
        if change.after is State.HEALTHY:
            if change.before is State.STARTING:
                self._served[name] = Served()
            self._running[name] = life
            self._look_within(seconds_left(life.tenant, life.last_used, self._reactor.seconds()))
        elif change.after is not State.UNHEALTHY:
            self._running.pop(name, None)
            self._served.pop(name, None)
            question = self._questions.pop(name, None)
            if question is not None:
                question.stopped.callback(None)

    def pong(self, life: Used, message: Mapping[str, object]) -> None:
        """Take what an instance says of its use."""
        name = life.tenant.name
        served = self._served.get(name)
        if served is not None and served.says(message):
            life.last_used = self._reactor.seconds()
        question = self._questions.get(name)
        if question is not None and question.quiet:
            self._settle(name)

    # The sweep

    def _look_within(self, seconds: float) -> None:
        if self._closed:
            return
        longest = LATEST if self._relief is None else MEASURE_INTERVAL
        delay = max(SOONEST, min(seconds, longest))
        if self._call is not None:
            if self._call.getTime() <= self._reactor.seconds() + delay:
                return
            self._call = cancelled(self._call)
        self._call = self._reactor.callLater(delay, self._sweep)

    def _sweep(self) -> None:
        self._call = None
        now = self._reactor.seconds()
        soonest = math.inf
        for name, question in list(self._questions.items()):
            if now - question.asked >= PATIENCE:
                self._dismiss(name)
        for life in list(self._running.values()):
            left = seconds_left(life.tenant, life.last_used, now)
            if left > 0:
                soonest = min(soonest, left)
            elif life.state is State.HEALTHY and life.tenant.name not in self._questions:
                unused = now - life.last_used
                self._question(life, f"unused for {unused:.4g} s")
        if self._relief is not None and now - self._measured_at >= MEASURE_INTERVAL:
            self._relieve()
        if self._running:
            self._look_within(soonest)

    # Memory

    def _relieve(self) -> None:
        """Measure, and stop as many as that asks for; then measure again."""
        if self._relief is None or self._relieving or self._closed or not self._running:
            return
        self._measured_at = now = self._reactor.seconds()
        memory = self._read()
        if memory is None:
            return
        candidates = [
            life
            for life in least_recently_used(self._running.values(), now)
            if life.tenant.name not in self._questions
        ]
        count = self._relief.measured(memory.share, len(candidates))
        if not count:
            return
        self._relieving = True
        reason = f"the longest unused, and {memory}"
        ended = [self._question(life, reason) for life in candidates[:count]]
        DeferredList(ended).addCallback(self._soon_again)

    def _soon_again(self, _: object) -> None:
        if not self._closed:
            self._again_call = self._reactor.callLater(AGAIN, self._relieved)

    def _relieved(self) -> None:
        self._again_call = None
        self._relieving = False
        self._relieve()

    # Asking before stopping

    def _question(self, life: Life, reason: str) -> Deferred[None]:
        """Stop `life` unless it turns out to be in use; fires when it is gone, or stays."""
        name, now = life.tenant.name, self._reactor.seconds()
        question = _Question(life, life.last_used, now, reason, Deferred())
        self._questions[name] = question
        self._quiet(name).addCallback(lambda _: self._is_quiet(name, question))
        return question.stopped

    def _is_quiet(self, name: str, question: _Question) -> None:
        if self._questions.get(name) is not question:
            return
        now = self._reactor.seconds()
        if now - question.asked > AT_ONCE:
            # Until now a request was under way, perhaps one that was cut.
            question.life.last_used = now
            self._dismiss(name)
            return
        question.quiet = True
        if not self._ask(name):
            self._settle(name)

    def _settle(self, name: str) -> None:
        """All is known: stop it, or not."""
        question = self._questions.get(name)
        if question is None:
            return
        life = question.life
        if life.last_used != question.since or life.state is not State.HEALTHY:
            self._dismiss(name)
            return
        del self._questions[name]
        life.stop(question.reason).chainDeferred(question.stopped)

    def _dismiss(self, name: str) -> None:
        question = self._questions.pop(name)
        question.stopped.callback(None)
        self._look_within(
            seconds_left(question.life.tenant, question.life.last_used, self._reactor.seconds())
        )
