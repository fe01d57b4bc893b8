"""When daily backups are due: at a time of day on the wall, each calendar day once. No I/O.

A time that a change of the clocks leaves out is due as long after midnight as ever, which is
later on the wall; of one that comes twice the first counts. What was missed is due at once.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo

RETRY = 3600.0
"""Seconds from a backup that failed to the next attempt."""
PATIENCE = 2 * 3600.0
"""Seconds from when a backup is due to when it is missed: for one that failed, and its next try."""


def due_at(day: date, at: str, zone: tzinfo | None) -> float:
    """Return when the backup of a day is due, in seconds since the epoch.

    `at`: `HH:MM`; `zone`: None is the system's.
    """
    hour, minute = map(int, at.split(":"))
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()


def last_due(at: str, now: float, zone: tzinfo | None = None) -> float:
    """Return the latest time that is due and not after `now`."""
    today = datetime.fromtimestamp(now, zone).date()
    return max(due for due in _around(today, at, zone) if due <= now)


def next_due(at: str, now: float, zone: tzinfo | None = None) -> float:
    """Return the earliest time that is due after `now`."""
    today = datetime.fromtimestamp(now, zone).date()
    return min(due for due in _around(today, at, zone) if due > now)


def next_run(
    at: str,
    now: float,
    *,
    last: float | None,
    failed: float | None = None,
    zone: tzinfo | None = None,
) -> float:
    """Return when the next backup is to be made: `now` if one was missed.

    `last`: when the last one was made, None if there is none; `failed`: when an attempt failed
    since.
    """
    due = next_due(at, now, zone)
    if last is not None and last >= last_due(at, now, zone):
        return due
    if failed is not None:
        return min(due, max(now, failed + RETRY))
    return now


def is_overdue(at: str, now: float, *, last: float | None, zone: tzinfo | None = None) -> bool:
    """Whether a backup that was due is missed. `last`: when the last whole one was made, or None.

    The one that is due is given `PATIENCE` first.
    """
    return last is None or last < last_due(at, now - PATIENCE, zone)


def _around(day: date, at: str, zone: tzinfo | None) -> list[float]:
    return [due_at(day + timedelta(days=away), at, zone) for away in (-2, -1, 0, 1, 2)]
