"""What is known of a run's end before it has ended; no I/O."""

from __future__ import annotations

import attrs

from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.fleet import Circumstances
from sqsuper.supervisor.run import Ending


class Charge:
    """What one run is condemned for, if it is, and what it was at when it was last seen."""

    def __init__(self) -> None:
        self._condemned: tuple[Cause, str] | None = None
        self._last_seen: Circumstances | None = None

    def condemn(self, cause: Cause, reason: str, seen: Circumstances) -> None:
        """It will be ended for that."""
        self._condemned = (cause, reason)
        self._last_seen = seen

    def seen(self, circumstances: Circumstances) -> None:
        """It ends; what it was at when it was condemned says more."""
        self._last_seen = self._last_seen or circumstances

    def ending(self, ending: Ending) -> Ending:
        """Return how it ended unplanned: with what it was condemned for as cause."""
        if self._condemned is not None:
            cause, reason = self._condemned
            reason = reason if ending.exit is None else f"{reason}; {ending.reason}"
            ending = Ending(ending.at, cause, reason, ending.exit)
        return attrs.evolve(ending, circumstances=self._last_seen)
