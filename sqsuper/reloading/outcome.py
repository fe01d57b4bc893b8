"""How a reload ended."""

from __future__ import annotations

from enum import Enum

import attrs

from sqsuper.config.diff import Plan


class Result(Enum):
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    """The configuration that was running is in force, whole."""


@attrs.frozen
class Outcome:
    """One reload. `at`: seconds since the epoch, of its end; `trigger`: who asked for it.

    `text` is one line for people; `errors` one a reason, where it was refused. The plan is
    there unless it was refused before one could be made.
    """

    at: float
    trigger: str
    result: Result
    text: str
    errors: tuple[str, ...] = ()
    plan: Plan | None = attrs.field(default=None, repr=False)
