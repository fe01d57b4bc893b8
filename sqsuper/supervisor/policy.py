"""When an instance that ended is started again; no I/O, time and randomness are arguments."""

from __future__ import annotations

from collections.abc import Callable

from sqsuper.config.model import Restart, RestartPolicy

MAX_DOUBLINGS = 64


class Policy:
    """The restart policy of one tenant.

    Backoff doubles with each end in a row that was not planned, from `backoff` to
    `backoff_max`; jitter only shortens (by up to `jitter` of the delay), so the cap holds
    and capped delays stay spread. An instance that was healthy for `reset_after` seconds
    begins anew. Planned stops are not told here and so never count.

    `random` returns floats in [0, 1).
    """

    def __init__(self, settings: Restart, random: Callable[[], float]) -> None:
        self._settings = settings
        self._random = random
        self._healthy_since: float | None = None
        self.failures = 0
        self.not_before = 0.0

    def healthy(self, now: float) -> None:
        """The instance takes requests since `now`."""
        self._healthy_since = now

    def doubted(self, now: float) -> None:
        """The instance does not take requests for now, though its process lives."""
        self._settle(now)

    def ended(self, now: float, *, clean: bool) -> float | None:
        """Take an unplanned end; return the seconds until the restart, None for none.

        `clean` is an exit with status 0 of an instance that had been ready. Also sets
        `not_before`, the time before which a start on demand has to wait.
        """
        self._settle(now)
        delay = self._delay()
        self.failures += 1
        self.not_before = now + delay
        policy = self._settings.policy
        if policy is RestartPolicy.NEVER or (clean and policy is RestartPolicy.ON_FAILURE):
            return None
        return delay

    def planned(self) -> None:
        """The instance was stopped on purpose: nothing counts against its next start."""
        self._healthy_since = None
        self.failures = 0
        self.not_before = 0.0

    def _settle(self, now: float) -> None:
        since, self._healthy_since = self._healthy_since, None
        if since is not None and now - since >= self._settings.reset_after:
            self.failures = 0

    def _delay(self) -> float:
        doublings = min(self.failures, MAX_DOUBLINGS)
        delay = min(self._settings.backoff * 2.0**doublings, self._settings.backoff_max)
        return float(delay * (1.0 - self._settings.jitter * self._random()))
