"""The states of a tenant's instance, without I/O.

Rules:

* `TRANSITIONS` holds every change that can happen; any other is a defect and raises.
* A process may exist in STARTING, HEALTHY, UNHEALTHY, DRAINING and STOPPING only (`RUNNING`).
* Only HEALTHY takes new requests; from UNHEALTHY and DRAINING on they are held.
* Whoever ends a process goes by STOPPING, as planned or because it was condemned: how it goes
  on tells which (END, or RETRY and FAIL). What ends by itself leaves its state at once.
* A tenant is disabled only while it has no process.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

import attrs

from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.errors import TransitionError

HISTORY = 50


class State(Enum):
    DISABLED = "disabled"
    STOPPED = "stopped"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"


class Event(Enum):
    ENABLE = "enable"
    DISABLE = "disable"
    START = "start"
    """A process is wanted now."""
    DELAY = "delay"
    """A process is wanted, but not before the backoff is over."""
    READY = "ready"
    DOUBT = "doubt"
    """It does not answer as it should: no new requests until it does."""
    RECOVER = "recover"
    DRAIN = "drain"
    """It is to end, after the requests that are under way."""
    STOP = "stop"
    """It is to end now."""
    RETRY = "retry"
    """The process ended, or could not be started, and is started again after a while."""
    END = "end"
    """The process ended and is not started again by itself."""
    FAIL = "fail"
    """It is given up, but for trials; or there is no use before something changed."""


RUNNING = frozenset(
    {State.STARTING, State.HEALTHY, State.UNHEALTHY, State.DRAINING, State.STOPPING}
)

# Its process takes requests.
SERVING = frozenset({State.HEALTHY, State.UNHEALTHY})

ENDING = frozenset({State.DRAINING, State.STOPPING})

TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.DISABLED, Event.ENABLE): State.STOPPED,
    (State.STOPPED, Event.DISABLE): State.DISABLED,
    (State.STOPPED, Event.START): State.STARTING,
    (State.STOPPED, Event.DELAY): State.BACKOFF,
    (State.STOPPED, Event.FAIL): State.FAILED,
    (State.STARTING, Event.READY): State.HEALTHY,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.STARTING, Event.RETRY): State.BACKOFF,
    (State.STARTING, Event.END): State.STOPPED,
    (State.STARTING, Event.FAIL): State.FAILED,
    (State.HEALTHY, Event.DOUBT): State.UNHEALTHY,
    (State.HEALTHY, Event.DRAIN): State.DRAINING,
    (State.HEALTHY, Event.STOP): State.STOPPING,
    (State.HEALTHY, Event.RETRY): State.BACKOFF,
    (State.HEALTHY, Event.END): State.STOPPED,
    (State.HEALTHY, Event.FAIL): State.FAILED,
    (State.UNHEALTHY, Event.RECOVER): State.HEALTHY,
    (State.UNHEALTHY, Event.DRAIN): State.DRAINING,
    (State.UNHEALTHY, Event.STOP): State.STOPPING,
    (State.UNHEALTHY, Event.RETRY): State.BACKOFF,
    (State.UNHEALTHY, Event.END): State.STOPPED,
    (State.UNHEALTHY, Event.FAIL): State.FAILED,
    (State.DRAINING, Event.STOP): State.STOPPING,
    (State.DRAINING, Event.RETRY): State.BACKOFF,
    (State.DRAINING, Event.END): State.STOPPED,
    (State.DRAINING, Event.FAIL): State.FAILED,
    (State.STOPPING, Event.RETRY): State.BACKOFF,
    (State.STOPPING, Event.END): State.STOPPED,
    (State.STOPPING, Event.FAIL): State.FAILED,
    (State.BACKOFF, Event.START): State.STARTING,
    (State.BACKOFF, Event.STOP): State.STOPPED,
    (State.BACKOFF, Event.DISABLE): State.DISABLED,
    (State.FAILED, Event.START): State.STARTING,
    (State.FAILED, Event.STOP): State.STOPPED,
    (State.FAILED, Event.DISABLE): State.DISABLED,
}


@attrs.frozen
class Change:
    """One change of state: `at` is the reactor's time (seconds), `reason` one line.

    `cause` is there when a failure or a doubt led to it.
    """

    at: float
    before: State
    event: Event
    after: State
    reason: str
    cause: Cause | None = None


class Instance:
    """The state of one tenant's instance and its last `HISTORY` changes."""

    def __init__(self, tenant: str, state: State = State.STOPPED) -> None:
        self.tenant = tenant
        self.state = state
        self.history: deque[Change] = deque(maxlen=HISTORY)

    def can(self, event: Event) -> bool:
        """Whether `event` leads anywhere from here."""
        return (self.state, event) in TRANSITIONS

    def apply(self, event: Event, at: float, reason: str, cause: Cause | None = None) -> Change:
        """Change the state; raises `TransitionError` and changes nothing if it cannot."""
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            raise TransitionError(self.tenant, self.state.value, event.value)
        change = Change(at, self.state, event, after, reason, cause)
        self.state = after
        self.history.append(change)
        return change
