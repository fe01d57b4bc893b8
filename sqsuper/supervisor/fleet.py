"""What the tenants' instances have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed

from sqsuper.config.model import Config
from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor.braking import Braking
from sqsuper.supervisor.events import Events
from sqsuper.supervisor.instance import Change
from sqsuper.supervisor.memory_kills import MemoryKills
from sqsuper.supervisor.process import Surroundings
from sqsuper.supervisor.starts import StartQueue

if TYPE_CHECKING:
    from sqsuper.supervisor.lifecycle import Lifecycle


class Observer(Protocol):
    """Learns of every change of every instance's state."""

    def became(self, life: Lifecycle, change: Change) -> None:
        """Take note. The change is made; what is to follow from it is perhaps not done yet.

        So nothing of `life` may be called from here that changes its state: leave that to a
        later turn of the reactor.
        """


@attrs.frozen
class Circumstances:
    """What an instance was at when it was looked at; None where nobody knows.

    `memory`: bytes, as last measured; `in_flight`: the gateway's requests under way.
    """

    memory: int | None = None
    in_flight: int | None = None


@attrs.define(eq=False)
class Fleet:
    """One object for the service, shared by all tenants' lifecycles."""

    config: Config
    around: Surroundings
    starts: StartQueue
    start_next: Callable[[], None]
    """Called when a start may have become possible."""
    epochs: Iterator[int]
    random: Callable[[], float]
    engine_paths: tuple[str, ...]
    data_dirs: frozenset[str]
    ports: set[int] = attrs.field(factory=set)
    """Configured ports, and those that command engines have now."""
    serving: bool = False
    """Between start and stop of the service."""
    grace_used: float = 0.0
    """Seconds of everyone's `stop_grace` that the service's stop has used up before its turn."""
    watchers: list[Callable[[str, Upstream | None], None]] = attrs.field(factory=list)
    """Told whenever a tenant's upstream changes."""
    observers: list[Observer] = attrs.field(factory=list)
    events: Events = attrs.field(factory=Events)
    quiet: Callable[[str], Deferred[None]] = attrs.field(default=lambda _: succeed(None))
    """Fires when no request to the tenant's instance is under way."""
    refusal: Callable[[], Unavailable | None] = attrs.field(default=lambda: None)
    """Why no stopped instance may be started now."""
    circumstances: Callable[[str], Circumstances] = attrs.field(default=lambda _: Circumstances())
    """Of a tenant's instance, now."""
    running: set[str] = attrs.field(factory=set)
    """The tenants that have an instance or are getting one."""
    memory_kills: MemoryKills = attrs.field(factory=MemoryKills)
    brake: Braking = attrs.field(init=False)
    release: Callable[[str], None] = attrs.field(default=lambda _: None)
    """Called with a tenant that may restart after the brake held it back."""

    def __attrs_post_init__(self) -> None:
        reactor = self.around.reactor
        self.brake = Braking(reactor, self.running, self.events, self.release)
