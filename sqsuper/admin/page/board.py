"""All tenants' rows, renewed round by round, and what changed of them: each said once for all.

A reader that is slow is told the newest state and nothing in between: nothing is kept for it.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Generator, Iterable
from typing import Any

import attrs

from sqsuper.admin import views
from sqsuper.admin.control import Control
from sqsuper.admin.page.rows import Row, row_of, shown
from sqsuper.admin.page.sparks import spark_of
from sqsuper.admin.page.traffic import Course
from sqsuper.admin.snapshot import snapshot_of
from sqsuper.config.model import Tenant
from sqsuper.gateway.statistics import Statistics
from sqsuper.supervisor.events import Event

KEPT_EVENTS = 200
SHOWN_EVENTS = 30
KEPT_GONE = 1000
PIECE = 64 * 1024
NOTHING = Statistics()


@attrs.define(eq=False)
class _Kept:
    row: Row
    text: str
    round: int


class Board:
    """See the module's text. `round` counts how often it was renewed, from 1.

    `failed()`: sign-ins to the admin listener with a wrong token so far.
    """

    def __init__(self, control: Control, reactor: Any, failed: Callable[[], int]) -> None:
        self.round = 0
        self.totals: dict[str, Any] = {}
        self._control = control
        self._reactor = reactor
        self._failed = failed
        self._kept: dict[str, _Kept] = {}
        self._order: list[str] = []
        self._tenants: tuple[Tenant, ...] = ()
        self._courses: dict[str, Course] = {}
        self._renewed_at: float = reactor.seconds()
        self._course = Course(NOTHING, self._renewed_at)
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._gone_before = 0
        """Of what went in this round or before it the names are not kept any more."""
        self._offset = 0.0
        self._said_totals = ""
        self._totals_round = 0
        self._events: deque[tuple[int, str]] = deque(maxlen=KEPT_EVENTS)
        self._message: tuple[int, int, bytes] = (0, 0, b"")
        self.close = control.supervisor.events.watch(self._take_event)
        """Look at nothing any more."""

    # What is

    def rows(self) -> Iterable[Row]:
        """Give all rows, by name."""
        for name in self._order:
            kept = self._kept.get(name)
            if kept is not None:
                yield kept.row

    def row(self, name: str) -> Row | None:
        """Return one tenant's row; None without such a tenant."""
        kept = self._kept.get(name)
        return None if kept is None else kept.row

    def course(self, name: str) -> Course | None:
        """Return what a tenant's requests are like; None as long as there were none."""
        return self._courses.get(name)

    def is_outdated(self) -> bool:
        """Whether there were other tenants when it was renewed."""
        return self._tenants is not self._control.config.tenants

    def since_the_epoch(self, at: float) -> float:
        """Return a time of the reactor's as seconds since the epoch."""
        return at + self._offset

    # A round

    def renew(self) -> Generator[None, None, None]:
        """Look at all tenants anew; others may be served at each pause."""
        now = self._reactor.seconds()
        offset = self._control.wall() - now
        if abs(offset - self._offset) >= 1:
            self._offset = offset
        round_ = self.round + 1
        tenants = self._control.config.tenants
        lives = self._control.supervisor.lives
        states: Counter[str] = Counter()
        sums = dict.fromkeys(("memory", "storage", "restarts", "threads"), 0)
        for tenant in tenants:
            if tenant.name not in lives:
                continue
            row = self._renew(tenant, now, round_)
            states[row.state] += 1
            sums["memory"] += row.memory or 0
            sums["threads"] += row.threads or 0
            sums["storage"] += row.storage or 0
            sums["restarts"] += row.restarts
            yield
        if tenants is not self._tenants:
            self._tenants = tenants
            self._sweep({tenant.name for tenant in tenants}, round_)
        self._total(states, sums, now, round_)
        self.round = round_
        self._renewed_at = now

    def _renew(self, tenant: Tenant, now: float, round_: int) -> Row:
        name = tenant.name
        life, shot = self._control.supervisor.lives[name], snapshot_of(self._control, name)
        row = row_of(tenant, life, shot, self._follow(name, shot.traffic, now), self._offset)
        kept = self._kept.get(name)
        if kept is None:
            self._kept[name] = _Kept(row, _said(row), round_)
        elif kept.row != row:
            kept.row, kept.text, kept.round = row, _said(row), round_
        return row

    def _follow(self, name: str, counted: Statistics, now: float) -> Course | None:
        course = self._courses.get(name)
        if course is None:
            if not (counted.requests or counted.in_flight):
                return None
            # As of the round before it, in which it had none.
            course = self._courses[name] = Course(NOTHING, self._renewed_at)
        course.take(counted, now)
        return course

    def _sweep(self, names: set[str], round_: int) -> None:
        for name in [name for name in self._kept if name not in names]:
            del self._kept[name]
            self._courses.pop(name, None)
            self._gone[name] = round_
        for name in names:
            self._gone.pop(name, None)
        while len(self._gone) > KEPT_GONE:
            self._gone_before = self._gone.popitem(last=False)[1]
        self._order = [tenant.name for tenant in self._tenants]

    def _total(self, states: Counter[str], sums: dict[str, int], now: float, round_: int) -> None:
        course, backup = self._course, self._control.archives.standing()
        course.take(self._control.gateway.totals().all, now)
        self.totals = {
            "tenants": sum(states.values()),
            "states": dict(states),
            **sums,
            "rate": shown(course.rate),
            "in_flight": course.in_flight,
            "errors": course.errors,
            "p50": shown(course.latency[0]),
            "p99": shown(course.latency[-1]),
            "failed_admin": self._failed(),
            "failed_gateway": self._control.gateway.wrong_tokens,
            "backup": None if backup is None else attrs.asdict(backup),
        }
        said = json.dumps(self.totals)
        if said != self._said_totals:
            self._said_totals, self._totals_round = said, round_

    def _take_event(self, event: Event) -> None:
        said = json.dumps(views.event_of(event))
        # Told with the next round.
        self._events.append((self.round + 1, said))

    # What is said of it

    def since(self, round_: int) -> bytes | None:
        """Return what changed after `round_`, one line of JSON; empty if nothing did.

        None: that is not known any more, begin again with `whole`.
        """
        if round_ < self._gone_before:
            return None
        if self._message[:2] != (round_, self.round):
            self._message = (round_, self.round, self._changes(round_))
        return self._message[2]

    def _changes(self, round_: int) -> bytes:
        rows = [kept.text for kept in self._kept.values() if kept.round > round_]
        gone = [name for name, at in self._gone.items() if at > round_]
        events = [said for at, said in self._events if at > round_]
        totals = self._totals_round > round_
        if not (rows or gone or events or totals):
            return b""
        said = f'{{"rows": [{", ".join(rows)}]'
        if gone:
            said += f', "gone": {json.dumps(gone)}'
        if events:
            said += f', "events": [{", ".join(events)}]'
        if totals:
            said += f', "totals": {self._said_totals}'
        return (said + "}").encode()

    def whole(self) -> Generator[None, None, tuple[int, list[bytes]]]:
        """Return all there is, and of which round it is, as pieces of one line of JSON.

        With what is drawn of the last ten minutes: `sparks`, by name.
        """
        round_ = self.round
        pieces: list[bytes] = []
        texts: list[str] = []
        size = 0

        def full() -> None:
            pieces.append("".join(texts).encode())
            texts.clear()

        texts.append('{"all": true, "rows": [')
        comma = ""
        for name in list(self._order):
            kept = self._kept.get(name)
            if kept is None:
                continue
            texts.append(comma + kept.text)
            comma = ", "
            size += len(kept.text)
            if size > PIECE:
                size = 0
                full()
            yield
        texts.append('], "sparks": {')
        comma = ""
        now = self._reactor.seconds()
        for name in list(self._order):
            series = self._control.supervisor.monitor.recent(name)
            if series is None or not len(series):
                continue
            spark = json.dumps(spark_of(series, now), separators=(",", ":"))
            texts.append(f"{comma}{json.dumps(name)}: {spark}")
            comma = ", "
            size += len(spark)
            if size > PIECE:
                size = 0
                full()
            yield
        events = ", ".join(said for _, said in list(self._events)[-SHOWN_EVENTS:])
        texts.append(f'}}, "events": [{events}], "totals": {self._said_totals or "{}"}}}')
        full()
        return round_, pieces


def _said(row: Row) -> str:
    return json.dumps(row._asdict())
