"""When an instance that ended is started again; no I/O, time and randomness are arguments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

import attrs

from sqsuper.config.model import Restart, RestartPolicy
from sqsuper.supervisor.causes import Cause

MAX_DOUBLINGS = 64
FIRST_TRIAL = 30.0


class Next(Enum):
    RETRY = auto()
    """Start again after the delay."""
    STAY = auto()
    """Start when it is wanted again, not before `Policy.not_before`."""
    FAIL = auto()
    """Give up; one trial after the delay, without one none before a reset."""


@attrs.frozen
class Verdict:
    """What follows an end: `delay` in seconds."""

    next: Next
    delay: float | None = None


class Backoff:
    """How long to wait before each next try.

    The delay doubles with each failure in a row, from `backoff` to `backoff_max`; jitter only
    shortens (by up to `jitter` of the delay), so the cap holds and capped delays stay spread.
    Whoever was healthy for `reset_after` seconds begins anew.
    `random` returns floats in [0, 1).
    """

    def __init__(self, settings: Restart, random: Callable[[], float]) -> None:
        self.settings = settings
        """May be replaced: what was counted stays."""
        self.failures = 0
        self._random = random
        self._healthy_since: float | None = None

    def healthy(self, now: float) -> None:
        """It works since `now`."""
        self._healthy_since = now

    def mended(self, now: float) -> bool:
        """Return whether it has been healthy for so long that no failure counts any more."""
        since = self._healthy_since
        return since is not None and now - since >= self.settings.reset_after

    def not_healthy(self, now: float) -> None:
        """It works no longer."""
        if self.mended(now):
            self.failures = 0
        self._healthy_since = None

    def failed(self, now: float) -> float:
        """Take a failure; return the seconds to wait."""
        self.not_healthy(now)
        doublings = min(self.failures, MAX_DOUBLINGS)
        self.failures += 1
        delay = min(self.settings.backoff * 2.0**doublings, self.settings.backoff_max)
        return float(delay * (1.0 - self.settings.jitter * self._random()))

    def reset(self) -> None:
        """Nothing counts any more."""
        self.failures = 0
        self._healthy_since = None


class Policy:
    """The restart policy of one tenant.

    * Between an end that was not planned and the restart is a `Backoff`.
    * More than `intensity` failures within `period`: given up. There is one trial after
      `FIRST_TRIAL` seconds; each trial that fails doubles that up to `retry_failed`. A trial
      succeeds only once the instance was healthy for `reset_after`: before, one failure is
      enough to be given up again.
    * `CANNOT_EXECUTE`: given up at once, without trials.
    * With policy `never` nothing is restarted, so nothing is given up either.

    Planned stops are not told here, but by `planned`, and so never count.
    """

    def __init__(self, settings: Restart, random: Callable[[], float]) -> None:
        self._backoff = Backoff(settings, random)
        self._recent: deque[float] = deque()
        self._trials = 0
        self.not_before = 0.0
        """The time before which a start on demand has to wait."""

    @property
    def settings(self) -> Restart:
        """May be replaced: what was counted stays."""
        return self._backoff.settings

    @settings.setter
    def settings(self, settings: Restart) -> None:
        self._backoff.settings = settings

    @property
    def on_trial(self) -> bool:
        """Whether it was given up and is not mended yet, as far as `settle` has seen."""
        return self._trials > 0

    def healthy(self, now: float) -> None:
        """The instance takes requests since `now`."""
        self._backoff.healthy(now)

    def doubted(self, now: float) -> None:
        """The instance does not take requests for now, though its process lives."""
        self.settle(now)
        self._backoff.not_healthy(now)

    def settle(self, now: float) -> bool:
        """Forget all failures if it has been healthy for long enough; return whether it has."""
        mended = self._backoff.mended(now)
        if mended:
            self._recent.clear()
            self._trials = 0
        return mended

    def ended(self, now: float, cause: Cause, *, clean: bool) -> Verdict:
        """Take an unplanned end; sets `not_before`, too.

        `clean` is an exit with status 0 of an instance that had been ready.
        """
        self.settle(now)
        delay = self._backoff.failed(now)
        self.not_before = now + delay
        policy = self.settings.policy
        if cause is Cause.CANNOT_EXECUTE:
            return self._give_up(now, None)
        if policy is RestartPolicy.NEVER or (clean and policy is RestartPolicy.ON_FAILURE):
            return Verdict(Next.STAY)
        if self._too_many(now) or self.on_trial:
            return self._give_up(now, self.settings.retry_failed)
        return Verdict(Next.RETRY, delay)

    def planned(self) -> None:
        """The instance was stopped on purpose, or is reset: nothing counts any more."""
        self._backoff.reset()
        self._recent.clear()
        self._trials = 0
        self.not_before = 0.0

    def _too_many(self, now: float) -> bool:
        self._recent.append(now)
        while now - self._recent[0] > self.settings.period:
            self._recent.popleft()
        return len(self._recent) > self.settings.intensity

    def _give_up(self, now: float, longest: float | None) -> Verdict:
        self._recent.clear()
        doublings = min(self._trials, MAX_DOUBLINGS)
        self._trials += 1
        if longest is None:
            return Verdict(Next.FAIL)
        delay = min(FIRST_TRIAL * 2.0**doublings, longest)
        self.not_before = now + delay
        return Verdict(Next.FAIL, delay)
