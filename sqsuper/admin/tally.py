"""How often things happened since the start: restarts by their cause, events by their kind."""

from __future__ import annotations

from collections import Counter

from sqsuper.supervisor import instance
from sqsuper.supervisor.events import Event
from sqsuper.supervisor.instance import Change, State
from sqsuper.supervisor.lifecycle import Lifecycle

_AFTER_FAILURE = frozenset({State.BACKOFF, State.FAILED})


class Tally:
    """A fleet's observer, and told of events (`take`).

    A restart is a start of an instance after one that failed: `restarts` by tenant, `causes` by
    what that failed of (a `Cause`'s value).
    """

    def __init__(self) -> None:
        self.restarts: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()
        self.events: Counter[str] = Counter()

    def became(self, life: Lifecycle, change: Change) -> None:
        """See `fleet.Observer`."""
        if change.event is instance.Event.START and change.before in _AFTER_FAILURE:
            self.restarts[life.tenant.name] += 1
            if life.ending is not None:
                self.causes[life.ending.cause.value] += 1

    def take(self, event: Event) -> None:
        """Take an event."""
        self.events[event.kind.value] += 1

    def forget(self, tenant: str) -> None:
        """A tenant is gone."""
        self.restarts.pop(tenant, None)
