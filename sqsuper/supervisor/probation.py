"""The time after a trial in which an instance has to show that it is well again."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall

from sqsuper.supervisor.course import Course
from sqsuper.supervisor.events import Kind
from sqsuper.supervisor.policy import Policy
from sqsuper.supervisor.process import cancelled


class Probation:
    """One tenant's: when it ends well, no failure counts any more, and an event says so."""

    def __init__(self, policy: Policy, course: Course, reactor: Any) -> None:
        self._policy = policy
        self._course = course
        self._reactor = reactor
        self._call: IDelayedCall | None = None

    def begin(self) -> None:
        """It takes requests; if it does so on trial, the time begins."""
        if self._policy.on_trial:
            self._call = self._reactor.callLater(self._policy.settings.reset_after, self._over)

    def cancel(self) -> None:
        """It takes none any more. Idempotent."""
        self._call = cancelled(self._call)

    def _over(self) -> None:
        self._call = None
        if self._policy.settle(self._reactor.seconds()):
            text = "healthy for long enough: no failure counts any more"
            self._course.tell(Kind.RECOVERED, None, text)
