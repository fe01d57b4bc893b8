"""What the gateway counts: of each tenant, cheaply enough for every request, and in all.

A tenant's counts are one list of numbers, a row: what a request adds to it stands where the
request ends (`plain`, `client`). Rows are emptied now and then into a `Ledger`, which knows what
there was since the start; that of several processes is one, in the supervisor's.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from operator import add
from typing import Any

import attrs

from sqsuper.http1.head import METHODS

BOUNDS = (
    *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the latency buckets, in seconds; one more bucket holds what took longer."""

# What stands where in a row. Answers by status class come first: status // 100 - 1.
BYTES_IN = 5
BYTES_OUT = 6
UPSTREAM_ERRORS = 7
COLD_STARTS = 8
METHOD: dict[bytes | None, int] = {
    method: 9 + at for at, method in enumerate((None, *sorted(METHODS - {b"GET"})))
}
"""Of GET there is no count: it is what is left. None: the request had no whole head."""
SECONDS = 9 + len(METHOD)
BUCKETS = SECONDS + 1
ACTIVE = BUCKETS + len(BOUNDS) + 1
"""When something was counted last (seconds); 0 in a row that was emptied."""
WIDTH = ACTIVE + 1

NOBODY = ""
"""Whose the requests are that came with no (known) token."""

Row = list[Any]

# For `Statistics.percentile`: where the share of the requests is looked for.
_P50, _P95, _P99 = 0.5, 0.95, 0.99


def new_row() -> Row:
    """Return a row in which nothing was counted."""
    return [0] * WIDTH


def count(
    row: Row, method: bytes | None, status: int, *, received: int, sent: int, now: float
) -> None:
    """Count a request that is over: bytes that it had, bytes that were sent of its answer.

    `method`: None if that is not known.
    """
    row[status // 100 - 1] += 1
    if method != b"GET":
        row[METHOD[method]] += 1
    row[BYTES_IN] += received
    row[BYTES_OUT] += sent
    row[ACTIVE] = now


def count_latency(row: Row, seconds: float) -> None:
    """Count how long it took until a request's whole answer was given to the client."""
    row[BUCKETS + bisect_left(BOUNDS, seconds)] += 1
    row[SECONDS] += seconds


def percentile(buckets: Sequence[int], share: float) -> float | None:
    """Return within how many seconds that share (0 to 1) of the requests was answered.

    `buckets`: how many fell between one bound of `BOUNDS` and the next. Between the bounds of a
    bucket they are taken to be spread evenly; what took longer than the last one counts as
    that. None without any request.
    """
    rank = share * sum(buckets)
    if not rank:
        return None
    below = 0
    for at, count in enumerate(buckets[:-1]):
        if count and below + count >= rank:
            low = BOUNDS[at - 1] if at else 0.0
            return low + (BOUNDS[at] - low) * (rank - below) / count
        below += count
    return BOUNDS[-1]


@attrs.frozen
class Statistics:
    """What was counted of a tenant, or of all, since the start of the service.

    Only what goes through the gateway is known. `requests_by_class`: answers 1xx to 5xx, also
    our own; who went before the answer counts as 4xx. Bytes are those of requests and answers,
    heads included. `in_flight`: requests that have a slot now. `upstream_errors`: requests that
    an instance did not answer well: 502, 504, or cut. `cold_starts`: starts of the instance
    that requests waited for. `last_active`: Unix seconds, or None. `latency`: how many answers
    came within which of the `BOUNDS`, and `latency_seconds` their sum, from a request's first
    byte to the last byte of the answer.
    """

    requests_by_class: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    bytes_in: int = 0
    bytes_out: int = 0
    in_flight: int = 0
    upstream_errors: int = 0
    cold_starts: int = 0
    last_active: float | None = None
    latency: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    latency_seconds: float = 0.0
    methods: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return sum(self.requests_by_class)

    @property
    def p50(self) -> float | None:
        """Seconds in which half of the answers came; see `percentile`."""
        return percentile(self.latency, _P50)

    @property
    def p95(self) -> float | None:
        """Seconds in which 95 % of the answers came."""
        return percentile(self.latency, _P95)

    @property
    def p99(self) -> float | None:
        """Seconds in which 99 % of the answers came."""
        return percentile(self.latency, _P99)

    def as_json(self) -> dict[str, Any]:
        """Return what `json.dumps` takes; latencies in seconds."""
        return {
            "requests_by_class": {f"{at + 1}xx": n for at, n in enumerate(self.requests_by_class)},
            "methods": dict(self.methods),
            "in_flight": self.in_flight,
            "upstream_errors": self.upstream_errors,
            "cold_starts": self.cold_starts,
            "latency": {
                "p50": self.p50,
                "p95": self.p95,
                "p99": self.p99,
                "mean": self.latency_seconds / sum(self.latency) if any(self.latency) else None,
                "bounds": list(BOUNDS),
                "counts": list(self.latency),
            },
        }


@attrs.frozen
class Totals:
    """What was counted in all, and of the gateway itself.

    `all`: of all requests, also of tenants that are gone, and of nobody's. `rejected`: what the
    gateway did not let through, connections and requests, by the code of the answer. `accepted`:
    connections since the start, `connections`: those that are open. `loop_lag`: by how many
    seconds the event loop was late in the last minute, at worst.
    """

    all: Statistics
    rejected: Mapping[str, int]
    accepted: int
    connections: int
    loop_lag: float


class Counts:
    """The rows of one process, and what belongs to no tenant; `nobody` is one of the rows."""

    def __init__(self) -> None:
        self.nobody = new_row()
        self.rejected: dict[str, int] = {}
        self.accepted = 0
        self._rows = {NOBODY: self.nobody}

    def of(self, tenant: str) -> Row:
        """Return a tenant's row: the same list until the tenant is forgotten."""
        row = self._rows.get(tenant)
        if row is None:
            row = self._rows[tenant] = new_row()
        return row

    def reject(self, code: str) -> None:
        """Count what was not let through."""
        self.rejected[code] = self.rejected.get(code, 0) + 1

    def forget(self, tenant: str) -> None:
        """A tenant is gone: what was counted of it and not taken yet is nobody's."""
        row = self._rows.pop(tenant, None)
        if row is not None:
            _merge(self.nobody, row)

    def take_gateway(self) -> tuple[dict[str, int], int]:
        """Return what was rejected and how many were accepted since this was taken last."""
        taken = self.rejected, self.accepted
        self.rejected, self.accepted = {}, 0
        return taken

    def take(self, tenant: str, ahead: float = 0.0) -> Row | None:
        """Empty a row and return what was in it; None if that is nothing.

        `ahead`: what its times are to be moved by.
        """
        row = self._rows.get(tenant)
        if row is None or not row[ACTIVE]:
            return None
        taken = row.copy()
        row[:] = _EMPTY
        taken[ACTIVE] += ahead
        return taken

    def take_all(self, ahead: float = 0.0) -> Iterator[tuple[str, Row]]:
        """Empty all rows, one after another; they may become more or fewer meanwhile."""
        for tenant in list(self._rows):
            taken = self.take(tenant, ahead)
            if taken is not None:
                yield tenant, taken


class Ledger:
    """What there was since the start, by tenant and in all."""

    def __init__(self) -> None:
        self.rejected: dict[str, int] = {}
        self.accepted = 0
        self._rows: dict[str, Row] = {}
        self._all = new_row()

    def enter(self, tenant: str, row: Row) -> None:
        """Add what was counted of a tenant, or of `NOBODY`."""
        _merge(self._all, row)
        if tenant == NOBODY:
            return
        known = self._rows.get(tenant)
        if known is None:
            self._rows[tenant] = row
        else:
            _merge(known, row)

    def enter_gateway(self, rejected: Mapping[str, int], accepted: int) -> None:
        """Add what `Counts.take_gateway` gave."""
        self.accepted += accepted
        for code, number in rejected.items():
            self.rejected[code] = self.rejected.get(code, 0) + number

    def forget(self, tenant: str) -> None:
        """A tenant is gone: it counts only in all."""
        self._rows.pop(tenant, None)

    def of(self, tenant: str, in_flight: int = 0) -> Statistics:
        """Return what there was of a tenant."""
        row = self._rows.get(tenant)
        return Statistics(in_flight=in_flight) if row is None else statistics_of(row, in_flight)

    def all(self, in_flight: int = 0) -> Statistics:
        """Return what there was in all."""
        return statistics_of(self._all, in_flight)


def statistics_of(row: Row, in_flight: int = 0) -> Statistics:
    """Return what a row says. Its time is in Unix seconds."""
    return Statistics(
        requests_by_class=(row[0], row[1], row[2], row[3], row[4]),
        bytes_in=row[BYTES_IN],
        bytes_out=row[BYTES_OUT],
        in_flight=in_flight,
        upstream_errors=row[UPSTREAM_ERRORS],
        cold_starts=row[COLD_STARTS],
        last_active=row[ACTIVE] or None,
        latency=tuple(row[BUCKETS:ACTIVE]),
        latency_seconds=row[SECONDS],
        methods=_methods(row),
    )


def _methods(row: Row) -> dict[str, int]:
    found = {method.decode("ascii"): row[at] for method, at in METHOD.items() if method}
    return {"GET": sum(row[:BYTES_IN]) - sum(row[METHOD[None] : SECONDS]), **found}


class ColdStarts:
    """Which starts of one tenant's instance requests waited for."""

    __slots__ = ("_epoch",)

    def __init__(self) -> None:
        self._epoch = 0

    def used(self, epoch: int) -> None:
        """An instance took requests without that they waited for it."""
        self._epoch = epoch

    def waited(self, epoch: int) -> bool:
        """Requests waited until this one was there; return whether that is its first time."""
        first = epoch != self._epoch
        self._epoch = epoch
        return first


class Lag:
    """By how much timers of an event loop are late, at worst, in the last one to two minutes."""

    WINDOW = 60.0

    def __init__(self) -> None:
        self._begun = -math.inf
        self._now = 0.0
        self._before = 0.0

    def late(self, seconds: float, now: float) -> None:
        """Note that a timer was so late at `now`."""
        if now - self._begun >= self.WINDOW:
            self._before = self._now if now - self._begun < 2 * self.WINDOW else 0.0
            self._begun, self._now = now, 0.0
        self._now = max(self._now, seconds)

    @property
    def worst(self) -> float:
        """The most seconds."""
        return max(self._now, self._before)


def code_of(answer: bytes) -> str | None:
    """Return the code of an error of our own; None: the answer is none."""
    start = answer.find(_CODE)
    if start < 0:
        return None
    start += len(_CODE)
    return answer[start : answer.find(b"\r\n", start)].decode("ascii")


def _merge(row: Row, more: Row) -> None:
    active = max(row[ACTIVE], more[ACTIVE])
    row[:] = map(add, row, more)
    row[ACTIVE] = active


_CODE = b"X-SQ-Code: "
_EMPTY = tuple(new_row())
