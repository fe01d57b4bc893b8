"""The requests for one tenant: each gets the upstream, or why there is none, or waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor.fleet import Fleet
from sqsuper.supervisor.instance import State
from sqsuper.supervisor.refusals import Refusals
from sqsuper.supervisor.waits import Outcome, Waiting, Waits

if TYPE_CHECKING:
    from sqsuper.supervisor.lifecycle import Lifecycle


class Reception:
    """Closed at first: `open` lets requests through, `close` holds new ones back."""

    def __init__(self, life: Lifecycle, fleet: Fleet) -> None:
        """The tenant's state is asked of `life`, and it is told when somebody waits."""
        self._life = life
        self._fleet = fleet
        self._reactor: Any = fleet.around.reactor
        self._refusals = Refusals(life)
        self._waits = Waits(self._reactor, self._patience, self._late)
        self._upstream: Upstream | None = None

    @property
    def upstream(self) -> Upstream | None:
        """The upstream that takes requests now."""
        return self._upstream

    @property
    def awaited(self) -> bool:
        """Whether requests wait."""
        return len(self._waits) > 0

    def wait(self, outcome: Outcome) -> Waiting:
        """See `Instances.wait`."""
        waiting = self._waits.add(outcome)
        refusal = self._refusals.now(self._reactor.seconds(), self._fleet.serving)
        if refusal is None and self._life.state is State.STOPPED:
            refusal = self._fleet.refusal()
        if refusal is not None:
            self._waits.deliver(refusal)
        elif self._upstream is not None:
            self._waits.deliver(self._upstream)
        else:
            self._life.want()
        return waiting

    def open(self, upstream: Upstream) -> None:
        """Let requests through, to `upstream`."""
        self._set(upstream)
        self._waits.deliver(upstream)

    def close(self) -> None:
        """Hold new requests."""
        self._set(None)

    def refuse(self, refusal: Unavailable) -> None:
        """Tell all who wait why they wait in vain."""
        self._waits.deliver(refusal)

    def refuse_if_vain(self) -> None:
        """Tell all who wait, if the tenant's state is such that nobody may wait any more."""
        refusal = self._refusals.now(self._reactor.seconds(), self._fleet.serving)
        if refusal is not None:
            self._waits.deliver(refusal)

    def refuse_for_failure(self) -> None:
        """Tell all who wait that the instance failed."""
        self._waits.deliver(self._refusals.failed(self._reactor.seconds()))

    def starting(self, starting: bool) -> None:
        """Learn whether the instance is starting now: requests then wait for it longer."""
        self._waits.starting(starting)

    def _set(self, upstream: Upstream | None) -> None:
        if upstream is not self._upstream:
            self._upstream = upstream
            for watcher in self._fleet.watchers:
                watcher(self._life.tenant.name, upstream)

    def _late(self) -> Unavailable:
        return self._refusals.late(self._reactor.seconds())

    def _patience(self, starting: bool) -> float:
        settings = self._life.tenant.settings
        return settings.health.start_timeout if starting else settings.queue_timeout
