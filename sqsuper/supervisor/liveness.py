"""Whether an instance lives, from what came of its probes; no I/O, time is an argument.

An answer, to a probe or a real request, is a sign of life. A probe that is not answered within
`timeout` is missed, and one of three things:

* the instance works on a request and its CPU time advances: BUSY, for `busy_max` seconds at most;
* it is the `unhealthy_after`th in a row: DEAD;
* neither: LATE.

An instance in doubt (such as one that refused a connection) is asked again as soon as it did not
answer; it is trusted after `healthy_after` answers in a row, and DEAD without for as long as it
takes to notice that one hangs.
"""

from __future__ import annotations

from enum import Enum

from sqsuper.config.model import Health

DOUBTED_PAUSE = 0.1


class Verdict(Enum):
    """What a missed probe means."""

    LATE = "late"
    BUSY = "busy"
    DEAD = "dead"


class Liveness:
    """The liveness of one epoch. The settings are arguments, as they may change."""

    __slots__ = ("answers", "busy_since", "doubted_since", "missed")

    def __init__(self) -> None:
        self.missed = 0
        """Missed in a row, but while it was busy."""
        self.answers = 0
        """Answered in a row."""
        self.busy_since: float | None = None
        """When the first probe was asked that it was too busy to answer."""
        self.doubted_since: float | None = None

    def pause(self, settings: Health) -> float:
        """Return the seconds from one probe to the next one."""
        if self.doubted_since is None:
            return settings.interval
        return min(settings.interval, DOUBTED_PAUSE)

    def doubted(self, now: float) -> None:
        """Learn that it gets no requests until it is trusted again."""
        if self.doubted_since is None:
            self.doubted_since = now
            self.answers = 0

    def trusted(self) -> None:
        """Learn that it gets requests again."""
        self.doubted_since = None

    def answered(self, settings: Health) -> bool:
        """Take a sign of life; return whether it may be trusted if it was in doubt."""
        self.missed = 0
        self.busy_since = None
        self.answers += 1
        return self.answers >= settings.healthy_after

    def miss(self, settings: Health, asked: float, now: float, *, works: bool) -> Verdict:
        """Take a missed probe that was sent at `asked`.

        `works`: there is a request that it works on, and its CPU time advances.
        """
        self.answers = 0
        if works:
            self.missed = 0
            if self.busy_since is None:
                self.busy_since = asked
            over = now - self.busy_since >= settings.busy_max
            return Verdict.DEAD if over else Verdict.BUSY
        self.missed += 1
        if self.doubted_since is not None:
            over = now - self.doubted_since >= settings.interval * settings.unhealthy_after
            return Verdict.DEAD if over else Verdict.LATE
        return Verdict.DEAD if self.missed >= settings.unhealthy_after else Verdict.LATE
