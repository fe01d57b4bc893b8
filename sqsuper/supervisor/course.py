"""The course of one tenant's instance: its changes of state, kept, logged and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import JSON, Kind
from sqsuper.supervisor.fleet import Fleet
from sqsuper.supervisor.instance import RUNNING, Change, Event, Instance, State


class Course:
    """Applies events to the state machine, and announces what came of them."""

    _log = Logger()

    def __init__(
        self, tenant: str, state: State, fleet: Fleet, announce: Callable[[Change], None]
    ) -> None:
        """`announce(change)` is called after each change, when all else knows of it."""
        self.instance = Instance(tenant, state)
        self._fleet = fleet
        self._reactor: Any = fleet.around.reactor
        self._announce = announce

    def apply(self, event: Event, reason: str, cause: Cause | None = None) -> State:
        """Change the state and return the new one; raises `TransitionError`."""
        instance, running = self.instance, self._fleet.running
        change = instance.apply(event, self._reactor.seconds(), reason, cause)
        if change.after in RUNNING:
            running.add(instance.tenant)
        else:
            running.discard(instance.tenant)
        self._log.info(
            "{tenant}: {before} -> {after} ({reason})",
            tenant=instance.tenant,
            before=change.before.value,
            after=change.after.value,
            reason=reason,
        )
        self._announce(change)
        return change.after

    def tell(self, kind: Kind, cause: Cause | None, text: str, **facts: JSON) -> None:
        """Publish an event, unless the fleet's brake says the same of many at once."""
        if not self._fleet.brake.quieted():
            word = kind.value if cause is None else cause.value
            self._fleet.events.tell(kind, self.instance.tenant, word, text, **facts)
