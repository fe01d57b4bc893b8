"""The fleet's brake: when many instances fail together, restarts are spaced; no I/O.

Many failures at once have one cause (a disk, a binary), which restarting at full speed only
makes worse.
"""

from __future__ import annotations

from collections.abc import Container, Sized
from typing import Protocol

import attrs

WINDOW = 60.0
AT_LEAST = 5
OVER_ONE_IN = 5
SPACING = 5.0


class Names(Sized, Container[str], Protocol):
    """Which tenants' instances run."""


@attrs.frozen
class Turn:
    """What is due: who may restart now, and whether the brake was released."""

    restart: tuple[str, ...]
    released: bool


class Brake:
    """On when `AT_LEAST` tenants, and over a fifth of those running, failed within a minute.

    While it is on, one restart in `SPACING` seconds goes through, in the order in which they
    became due. It is off again as soon as the failures of the last minute are not enough
    to set it: then all that wait go through.
    """

    def __init__(self) -> None:
        self.on = False
        self._failed: dict[str, float] = {}
        self._waiting: dict[str, None] = {}
        self._next_at = 0.0

    @property
    def failed(self) -> tuple[str, ...]:
        """The tenants that failed within the last minute, the latest last."""
        return tuple(self._failed)

    def __len__(self) -> int:
        """How many restarts wait."""
        return len(self._waiting)

    def note(self, now: float, tenant: str, running: Names) -> bool:
        """Take a failure that was not planned; return whether it sets the brake.

        `running`: which instances run, with or without those that just failed.
        """
        self._failed.pop(tenant, None)
        self._failed[tenant] = now
        self._forget_before(now - WINDOW)
        if self.on or not self._is_common(running):
            return False
        self.on = True
        self._next_at = now + SPACING
        return True

    def admit(self, tenant: str) -> bool:
        """Return whether `tenant` may restart now; otherwise it waits for its turn."""
        if self.on:
            self._waiting[tenant] = None
        return not self.on

    def discard(self, tenant: str) -> None:
        """`tenant` need not be restarted any more."""
        self._waiting.pop(tenant, None)

    def turn(self, now: float, running: Names) -> Turn:
        """Return what is due now. To be asked each second or so while the brake is on."""
        self._forget_before(now - WINDOW)
        if self.on and not self._is_common(running):
            self.on = False
            restart = tuple(self._waiting)
            self._waiting.clear()
            return Turn(restart, released=True)
        if self.on and self._waiting and now >= self._next_at:
            self._next_at = now + SPACING
            first = next(iter(self._waiting))
            del self._waiting[first]
            return Turn((first,), released=False)
        return Turn((), released=False)

    def _is_common(self, running: Names) -> bool:
        count = len(self._failed)
        if count < AT_LEAST:
            return False
        all_of_them = len(running) + sum(tenant not in running for tenant in self._failed)
        return count * OVER_ONE_IN > all_of_them

    def _forget_before(self, time: float) -> None:
        while self._failed:
            tenant, at = next(iter(self._failed.items()))
            if at > time:
                break
            del self._failed[tenant]
