"""The fleet's brake at work: its clock, its events, and the restarts that it holds back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from sqsuper.supervisor.brake import SPACING, Brake, Names
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.events import Events, Kind

LOOK = 1.0
NAMED = 20


class Braking:
    """Drives one `Brake`; see there for the rule."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        running: Names,
        events: Events,
        release: Callable[[str], None],
    ) -> None:
        """`running`: the tenants whose instances run, kept up to date by others.

        `release(tenant)` is called when a tenant that was not admitted may restart.
        """
        self._reactor = reactor
        self._running = running
        self._events = events
        self._release = release
        self._brake = Brake()
        self._look_call: IDelayedCall | None = None
        self._quieted = 0

    @property
    def on(self) -> bool:
        return self._brake.on

    def failed(self, tenant: str, cause: Cause) -> None:
        """Take a failure that was not planned."""
        if not self._brake.note(self._reactor.seconds(), tenant, self._running):
            return
        self._quieted = 0
        names = self._brake.failed
        text = (
            f"{len(names)} tenants failed within a minute, the last by {cause.value}:"
            f" one restart in {SPACING:g} s until that ends"
        )
        self._log.error("{text}", text=text)
        self._events.tell(
            Kind.FLEET, None, cause.value, text, failed=len(names), tenants=[*names[-NAMED:]]
        )
        self._look_call = self._reactor.callLater(LOOK, self._look)

    def admit(self, tenant: str) -> bool:
        """Return whether `tenant` may restart now; otherwise `release` is called for it."""
        return self._brake.admit(tenant)

    def discard(self, tenant: str) -> None:
        """`tenant` need not be restarted any more."""
        self._brake.discard(tenant)

    def quieted(self) -> bool:
        """Return whether an event of one tenant's failure is left out, and count it."""
        self._quieted += self.on
        return self.on

    def stop(self) -> None:
        """Look no more: the service stops."""
        if self._look_call is not None and self._look_call.active():
            self._look_call.cancel()
        self._look_call = None
        self._brake = Brake()

    def _look(self) -> None:
        turn = self._brake.turn(self._reactor.seconds(), self._running)
        if turn.released:
            self._look_call = None
            text = "the failures have stopped: tenants restart as they are configured"
            self._log.info("{text}", text=text)
            self._events.tell(Kind.FLEET, None, "released", text, quieted=self._quieted)
        else:
            self._look_call = self._reactor.callLater(LOOK, self._look)
        for tenant in turn.restart:
            self._release(tenant)
