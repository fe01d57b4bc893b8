"""What a tenant's requests have been like lately: rates and latencies out of counters, no I/O."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from operator import sub
from typing import Any, Protocol

from sqsuper.gateway.statistics import percentile

STEP = 10.0
"""Seconds of one point of the history."""
STEPS = 60
SMOOTH = 3.0
"""After so many seconds a rate has gone most of the way to a new one."""
LEAST = 0.01
"""A rate below this is none, in requests a second."""
SHARES = (0.5, 0.9, 0.99)
SERVER_ERROR = 4
"""Where 5xx stands among the classes."""
NONE = math.nan


class Counted(Protocol):
    """What the gateway counted since its start."""

    @property
    def requests(self) -> int: ...
    @property
    def requests_by_class(self) -> Sequence[int]: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def latency(self) -> Sequence[int]: ...


class History:
    """Points of the last `STEPS` steps, of those alone in which there was anything."""

    __slots__ = ("_columns", "_steps")

    def __init__(self) -> None:
        self._steps = array("q")
        # Requests and errors a second, and the latencies of SHARES in milliseconds.
        self._columns = tuple(array("f") for _ in range(2 + len(SHARES)))

    def add(self, step: int, values: Sequence[float]) -> None:
        """Keep a point, of a later step than all others."""
        self._steps.append(step)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        columns: tuple[array[Any], ...] = (self._steps, *self._columns)
        while self._steps[0] <= step - STEPS:
            for column in columns:
                del column[0]

    def errors(self, step: int) -> float:
        """Return how many errors there were in the last `STEPS` before `step`."""
        found = zip(self._steps, self._columns[1], strict=True)
        return sum(errors for at, errors in found if at >= step - STEPS) * STEP

    def points(self, step: int) -> list[list[float | None]]:
        """Return each column's last `STEPS` before `step`, oldest first; None where nothing is."""
        told: list[list[float | None]] = [[0.0] * STEPS, [0.0] * STEPS]
        told += ([None] * STEPS for _ in SHARES)
        for at, when in enumerate(self._steps):
            place = when - (step - STEPS)
            if 0 <= place < STEPS:
                for column, values in zip(told, self._columns, strict=True):
                    value = values[at]
                    column[place] = None if math.isnan(value) else round(value, 3)
        return told


class Course:
    """One tenant's requests, or all: `rate`, requests and errors a second, by counters.

    `latency`: within how many milliseconds each of `SHARES` was answered in the last 10 to 20
    seconds, None where nobody asked. `errors`: answers 5xx in the last ten minutes. `requests`:
    since the start of the service; `in_flight`: now.
    """

    __slots__ = (
        "_at",
        "_base",
        "_before",
        "_errors",
        "_history",
        "_step",
        "_step_errors",
        "_step_requests",
        "errors",
        "in_flight",
        "latency",
        "rate",
        "requests",
    )

    def __init__(self, counted: Counted, now: float) -> None:
        self._begin(counted, now)

    def _begin(self, counted: Counted, now: float) -> None:
        self.rate = 0.0
        self.latency: tuple[float | None, ...] = (None,) * len(SHARES)
        self.errors = 0
        self.in_flight = counted.in_flight
        self._at = now
        self._step = int(now // STEP)
        self.requests = self._step_requests = counted.requests
        self._errors = self._step_errors = counted.requests_by_class[SERVER_ERROR]
        self._base = self._before = counted.latency
        self._history: History | None = None

    def take(self, counted: Counted, now: float) -> None:
        """Take what is counted at `now` (seconds of one clock); at least once a STEP."""
        requests = counted.requests
        if requests < self.requests:  # the counters began anew
            self._begin(counted, now)
            return
        passed = now - self._at
        if passed <= 0:
            return
        step = int(now // STEP)
        if requests != self.requests or self.rate:
            share = 1 - math.exp(-passed / SMOOTH)
            rate = self.rate + ((requests - self.requests) / passed - self.rate) * share
            self.rate = rate if rate >= LEAST else 0.0
        self._at = now
        self.in_flight = counted.in_flight
        self._errors = counted.requests_by_class[SERVER_ERROR]
        if requests != self.requests or step != self._step:
            self.requests = requests
            self._measure(counted.latency, step)

    def _measure(self, latency: Sequence[int], step: int) -> None:
        self.latency = _latency(latency, self._before)
        if step != self._step:
            asked = self.requests - self._step_requests
            failed = self._errors - self._step_errors
            if asked or failed:
                if self._history is None:
                    self._history = History()
                length = (step - self._step) * STEP
                told = _latency(latency, self._base)
                slow = (NONE if value is None else value for value in told)
                self._history.add(step - 1, (asked / length, failed / length, *slow))
            self._step = step
            self._step_requests, self._step_errors = self.requests, self._errors
            self._before, self._base = self._base, latency
        history = self._history
        known = 0.0 if history is None else history.errors(step)
        self.errors = round(known) + self._errors - self._step_errors

    def points(self) -> dict[str, Any]:
        """Return the history for charts: `end`, in seconds of the clock, is of the last point."""
        history = self._history or History()
        rate, errors, *latency = history.points(self._step)
        return {
            "end": self._step * STEP,
            "step": STEP,
            "rate": rate,
            "errors": errors,
            "p50": latency[0],
            "p90": latency[1],
            "p99": latency[2],
        }


def _latency(now: Sequence[int], before: Sequence[int]) -> tuple[float | None, ...]:
    buckets = list(map(sub, now, before))
    found = (percentile(buckets, share) for share in SHARES)
    return tuple(None if seconds is None else seconds * 1000 for seconds in found)
