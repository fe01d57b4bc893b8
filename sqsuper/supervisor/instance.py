"""The states of a tenant's instance, without I/O.

Rules:

* `TRANSITIONS` holds every change that can happen; any other is a defect and raises.
* A process may exist in STARTING, HEALTHY and STOPPING only (`RUNNING`), and in each of these
  the end of the process is what leads out.
* Only HEALTHY takes requests.
* STOPPING is a planned stop; an unplanned end never passes through it.
* A tenant is disabled only while it has no process.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

import attrs

from sqsuper.supervisor.errors import TransitionError

HISTORY = 50


class State(Enum):
    DISABLED = "disabled"
    STOPPED = "stopped"
    STARTING = "starting"
    HEALTHY = "healthy"
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
    """A healthy instance refused a connection: it must show again that it answers."""
    STOP = "stop"
    RETRY = "retry"
    """The process ended, or could not be started, and is started again after a while."""
    END = "end"
    """The process ended and is not started again by itself."""
    FAIL = "fail"
    """There is no use in starting before something changed."""


RUNNING = frozenset({State.STARTING, State.HEALTHY, State.STOPPING})

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
    (State.HEALTHY, Event.DOUBT): State.STARTING,
    (State.HEALTHY, Event.STOP): State.STOPPING,
    (State.HEALTHY, Event.RETRY): State.BACKOFF,
    (State.HEALTHY, Event.END): State.STOPPED,
    (State.HEALTHY, Event.FAIL): State.FAILED,
    (State.STOPPING, Event.END): State.STOPPED,
    (State.BACKOFF, Event.START): State.STARTING,
    (State.BACKOFF, Event.STOP): State.STOPPED,
    (State.BACKOFF, Event.DISABLE): State.DISABLED,
    (State.FAILED, Event.START): State.STARTING,
    (State.FAILED, Event.STOP): State.STOPPED,
    (State.FAILED, Event.DISABLE): State.DISABLED,
}


@attrs.frozen
class Change:
    """One change of state: `at` is the reactor's time (seconds), `reason` one line."""

    at: float
    before: State
    event: Event
    after: State
    reason: str


class Instance:
    """The state of one tenant's instance and its last `HISTORY` changes."""

    def __init__(self, tenant: str, state: State = State.STOPPED) -> None:
        self.tenant = tenant
        self.state = state
        self.history: deque[Change] = deque(maxlen=HISTORY)

    def can(self, event: Event) -> bool:
        """Whether `event` leads anywhere from here."""
        return (self.state, event) in TRANSITIONS

    def apply(self, event: Event, at: float, reason: str) -> Change:
        """Change the state; raises `TransitionError` and changes nothing if it cannot."""
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            raise TransitionError(self.tenant, self.state.value, event.value)
        change = Change(at, self.state, event, after, reason)
        self.state = after
        self.history.append(change)
        return change
