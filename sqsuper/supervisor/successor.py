"""An instance's successor: loaded beside it, to take its place when it has ended."""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

from sqsuper.supervisor.run import Ending, Run


class SuccessorOwner(Protocol):
    """Who keeps the instance that is to be succeeded."""

    def successor_stands_by(self) -> None:
        """Nothing but the present run keeps it from serving."""

    def successor_ended(self, ending: Ending) -> None:
        """It is gone, before its time came or as it was dismissed."""


class Successor:
    """One run until it becomes the present one (then set `run.owner`), or is gone.

    An embedded engine waits by itself for the lock of the data directory, so no two ever work
    on it, whoever dies when.
    """

    _log = Logger()

    def __init__(self, run: Run, told: SuccessorOwner) -> None:
        """Takes over `run`; it is launched then, or will be."""
        self.run = run
        self.dismissed = False
        self._told = told
        run.owner = self

    def dismiss(self) -> None:
        """Let it end: it is not needed. Idempotent."""
        if not self.dismissed:
            self.dismissed = True
            self.run.kill()  # it has begun nothing that could be lost

    # RunOwner

    def run_stands_by(self, run: Run) -> None:
        run.expect_no_more()
        if not self.dismissed:
            self._log.info("{tenant}: its successor stands by", tenant=run.tenant.name)
            self._told.successor_stands_by()

    def run_ready(self, run: Run) -> None:
        pass  # the present run has ended, which its owner will see in a moment

    def run_late(self, run: Run) -> None:
        run.kill()

    def run_exited(self, run: Run) -> None:
        pass

    def run_ended(self, run: Run, ending: Ending) -> None:
        run.close()
        if not self.dismissed:
            self._log.error(
                "{tenant}: its successor ended: {reason}",
                tenant=run.tenant.name,
                reason=ending.reason,
            )
        self._told.successor_ended(ending)
