"""What operators are told of: facts about tenants and the fleet, as they happen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TypeAlias

import attrs
from twisted.logger import Logger

RECENT = 1000

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


class Kind(Enum):
    UNHEALTHY = "unhealthy"
    RESTARTED = "restarted"
    """An instance that had failed is started again."""
    FAILED = "failed"
    """A tenant is given up, but for trials."""
    RECOVERED = "recovered"
    """A tenant that was `failed` is mended, or an unhealthy one answers again."""
    LIMIT = "limit"
    QUOTA = "quota"
    FLEET = "fleet"
    RELOAD = "reload"
    ADMIN = "admin"
    """Somebody changed something by the admin API."""
    BACKUP = "backup"
    """A daily backup failed, or lacks tenants."""


@attrs.frozen
class Event:
    """One event. `at`: seconds since the epoch; `text`: one line for people.

    `tenant` is None for what concerns all; `cause` with `kind` and `tenant` tells events
    apart that are not to be repeated (a `Cause`'s value, or a word of the kind's own).
    """

    at: float
    kind: Kind
    tenant: str | None
    cause: str
    text: str
    facts: Mapping[str, JSON] = attrs.field(factory=dict)


class Events:
    """Where events are published; one object a service. The last `RECENT` are kept."""

    _log = Logger()

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        """`wall_clock()`: seconds since the epoch."""
        self.recent: deque[Event] = deque(maxlen=RECENT)
        self._wall_clock = wall_clock
        self._watchers: list[Callable[[Event], None]] = []

    def publish(self, event: Event) -> None:
        """Keep `event`, and tell all who watch; what they raise is logged."""
        self.recent.append(event)
        for watcher in tuple(self._watchers):
            try:
                watcher(event)
            except Exception:
                self._log.failure("an event's watcher failed")

    def tell(self, kind: Kind, tenant: str | None, cause: str, text: str, **facts: JSON) -> None:
        """Publish an event that happens now."""
        self.publish(Event(self._wall_clock(), kind, tenant, cause, text, facts))

    def watch(self, told: Callable[[Event], None]) -> Callable[[], None]:
        """Call `told` with each event from now on; return what ends that."""
        self._watchers.append(told)

        def end() -> None:
            if told in self._watchers:
                self._watchers.remove(told)

        return end
