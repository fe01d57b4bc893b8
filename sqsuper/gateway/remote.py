"""A worker's `Instances`: what the supervisor's process knows, told over the channel.

Who is ready is told whenever it changes, so that asking costs nothing; waiting and what went
wrong go to the supervisor's process, and what was used is gathered first.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from sqsuper.gateway.messages import decode_outcome, decode_upstream
from sqsuper.instances import Unavailable, Upstream

USED_INTERVAL = 0.25


class RemoteWait:
    """A waiting request (`instances.Wait`)."""

    __slots__ = ("_number", "_remote")

    def __init__(self, remote: RemoteInstances, number: int) -> None:
        self._remote = remote
        self._number = number

    def cancel(self) -> None:
        """See `Wait.cancel`."""
        self._remote.forget(self._number)


class RemoteInstances:
    """See the module's text.

    `say(kind, *facts)` sends; `later(seconds, call)` calls once; `seconds()` is the time.
    """

    def __init__(
        self,
        say: Callable[..., None],
        later: Callable[[float, Callable[[], None]], object],
        seconds: Callable[[], float],
    ) -> None:
        self._say = say
        self._later = later
        self._seconds = seconds
        self._ready: dict[str, Upstream] = {}
        self._waits: dict[int, Callable[[Upstream | Unavailable], None]] = {}
        self._numbers = itertools.count(1)
        self._used: dict[str, tuple[Upstream, float]] = {}

    def ready(self, tenant: str) -> Upstream | None:
        """See `Instances.ready`."""
        return self._ready.get(tenant)

    def wait(self, tenant: str, outcome: Callable[[Upstream | Unavailable], None]) -> RemoteWait:
        """See `Instances.wait`."""
        number = next(self._numbers)
        self._waits[number] = outcome
        self._say("wait", number, tenant)
        return RemoteWait(self, number)

    def refused(self, upstream: Upstream) -> None:
        """See `Instances.refused`."""
        self._say("refused", *self._named(upstream))

    def used(self, upstream: Upstream, ago: float = 0.0) -> None:
        """See `Instances.used`. The supervisor learns of it within a quarter of a second."""
        if not self._used:
            self._later(USED_INTERVAL, self._tell_used)
        self._used[upstream.tenant] = upstream, self._seconds() - ago

    def forget(self, number: int) -> None:
        """Wait no longer. Harmless when it is over."""
        if self._waits.pop(number, None) is not None:
            self._say("unwait", number)

    # Told by the supervisor's process

    def changed(self, tenant: str, value: list[Any] | None) -> None:
        """Take who is ready for a tenant now, or that nobody is."""
        if value is None:
            self._ready.pop(tenant, None)
        else:
            self._ready[tenant] = decode_upstream(value)

    def settled(self, number: int, value: list[Any]) -> None:
        """Take the outcome of a wait."""
        outcome = self._waits.pop(number, None)
        if outcome is not None:
            outcome(decode_outcome(value))

    def _tell_used(self) -> None:
        used, self._used = self._used, {}
        now = self._seconds()
        for upstream, at in used.values():
            self._say("used", *self._named(upstream), now - at)

    def _named(self, upstream: Upstream) -> list[Any]:
        # The key need not travel: tenant and epoch name an upstream.
        return [upstream.tenant, upstream.epoch]
