"""When a failed instance is started again by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from sqsuper.supervisor.fleet import Fleet
from sqsuper.supervisor.process import cancelled


class NextTry:
    """One tenant's next start after a failure, if one is set."""

    def __init__(self, tenant: str, fleet: Fleet) -> None:
        self.at: float | None = None
        """When (the reactor's seconds); later if the fleet's brake holds it back."""
        self._tenant = tenant
        self._fleet = fleet
        self._reactor: Any = fleet.around.reactor
        self._call: IDelayedCall | None = None
        self._try: Callable[[], None] | None = None

    def set(self, delay: float, call: Callable[[], None], *, braked: bool = True) -> None:
        """Call `call` after `delay` seconds; with `braked` when the fleet's brake lets it."""
        self.cancel()
        self.at = self._reactor.seconds() + delay
        self._try = call
        self._call = self._reactor.callLater(delay, self._due if braked else self.now)

    def cancel(self) -> None:
        """There is to be none. Idempotent."""
        self._call = cancelled(self._call)
        self._try = self.at = None
        self._fleet.brake.discard(self._tenant)

    def now(self) -> None:
        """Its time has come, if it is still set."""
        call = self._try
        self.cancel()
        if call is not None:
            call()

    def _due(self) -> None:
        self._call = None
        if self._fleet.brake.admit(self._tenant):
            self.now()
