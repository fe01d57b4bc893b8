"""The directory of archives: their names, and which of the daily ones go. No I/O.

`daily-TIME.tar.gz` is made by the schedule, `all-TIME.tar.gz` and `tenant-NAME-TIME.tar.gz` by
hand; TIME is UTC, such as 20260102T030405Z. `-partial` stands behind it where tenants are missing.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterable
from typing import Any

import attrs

DAILY = "daily"
_FORM = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(
    r"(?P<kind>daily|all|tenant-(?P<tenant>[a-z0-9][a-z0-9._-]{0,62}))"
    r"-(?P<time>\d{8}T\d{6}Z)(?:-\d+)?(?P<partial>-partial)?\.tar\.gz"
)


@attrs.frozen
class Shelved:
    """An archive, by its name. `made`: seconds since the epoch; `tenant`: of one alone."""

    name: str
    made: float
    daily: bool
    tenant: str | None
    complete: bool

    def as_json(self, size: int) -> dict[str, Any]:
        """Return it, of `size` bytes, as the admin API does."""
        return {
            "file": self.name,
            "bytes": size,
            "made": self.made,
            "daily": self.daily,
            "tenant_id": self.tenant,
            "complete": self.complete,
        }


def name_of(kind: str, made: float, *, partial: bool = False, again: int = 1) -> str:
    """Return the name of an archive; `kind`: daily, all, or tenant-NAME; `again`: that often."""
    stamp = time.strftime(_FORM, time.gmtime(made))
    more = "" if again == 1 else f"-{again}"
    return f"{kind}-{stamp}{more}{'-partial' if partial else ''}.tar.gz"


def shelved(name: str) -> Shelved | None:
    """Return what an archive's name says; None if it is not one of ours."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        made = calendar.timegm(time.strptime(found["time"], _FORM))
    except ValueError:
        return None
    daily = found["kind"] == DAILY
    return Shelved(name, made, daily, found["tenant"], found["partial"] is None)


def all_of(names: Iterable[str]) -> list[Shelved]:
    """Return the archives among names, the newest first."""
    found = [one for one in map(shelved, names) if one is not None]
    return sorted(found, key=lambda one: (one.made, one.name), reverse=True)


def last_daily(names: Iterable[str]) -> float | None:
    """Return when the newest daily archive was made; None without one."""
    return next((one.made for one in all_of(names) if one.daily), None)


def last_whole(names: Iterable[str]) -> Shelved | None:
    """Return the newest daily archive in which no tenant is missing; None without one."""
    return next((one for one in all_of(names) if one.daily and one.complete), None)


def outlived(names: Iterable[str], keep: int) -> list[str]:
    """Return which daily archives go, so that the newest `keep` complete ones stay.

    One with tenants missing goes when an older complete one would, and counts for nothing:
    days of failure do not drive out what is whole.
    """
    daily = [one for one in all_of(names) if one.daily]
    complete = [one for one in daily if one.complete]
    if len(complete) < keep:
        return []
    oldest = complete[keep - 1]
    return [one.name for one in daily if one.made < oldest.made and one not in complete[:keep]]
