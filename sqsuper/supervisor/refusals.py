"""What requests are told when a tenant has no instance for them.

Clients learn the class of a failure, never its details: those name paths, pids and ports.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sqsuper.instances import Unavailable
from sqsuper.supervisor.instance import State

if TYPE_CHECKING:
    from sqsuper.supervisor.lifecycle import Lifecycle

DISABLED_RETRY = 60
HELD_RETRY = 60
GIVEN_UP_RETRY = 60
STOPPING_RETRY = 5


class Refusals:
    """The answers for one tenant, by the state of its instance."""

    def __init__(self, life: Lifecycle) -> None:
        self._life = life

    def now(self, now: float, serving: bool) -> Unavailable | None:
        """Return why no request may wait at `now`; None if it may."""
        life = self._life
        if not serving:
            return self.stopping()
        if life.state is State.DISABLED:
            return Unavailable("disabled", "the tenant is disabled", DISABLED_RETRY)
        if life.held:
            return self.held()
        trial = life.state is State.STARTING and life.policy.on_trial
        return self.failed(now) if life.state is State.FAILED or trial else None

    def stopping(self) -> Unavailable:
        return Unavailable("draining", "the service is stopping", STOPPING_RETRY)

    def held(self) -> Unavailable:
        return Unavailable("stopped", "the tenant is stopped", HELD_RETRY)

    def failed(self, now: float) -> Unavailable:
        """It failed, and is not tried again soon."""
        life = self._life
        cause = None if life.ending is None else life.ending.cause.value
        reason = "the instance failed" if cause is None else f"the instance failed: {cause}"
        given_up = life.state is State.FAILED and life.due_at is None
        seconds = GIVEN_UP_RETRY if given_up else self._seconds_left(now)
        return Unavailable("failed", reason, seconds, cause)

    def late(self, now: float) -> Unavailable:
        """It waited as long as it may."""
        state = self._life.state
        if state is State.BACKOFF:
            reason = "the instance does not start; it is tried again"
            return Unavailable("starting", reason, self._seconds_left(now))
        if state in {State.DRAINING, State.STOPPING}:
            return Unavailable("draining", "the instance is being stopped", 1)
        if state is State.UNHEALTHY:
            return Unavailable("timeout", "the instance does not answer", 1)
        return Unavailable("starting", "the instance is not ready yet", 1)

    def _seconds_left(self, now: float) -> int:
        due = max(self._life.due_at or 0.0, self._life.policy.not_before)
        return max(1, math.ceil(due - now))
