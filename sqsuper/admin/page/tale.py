"""What is told of one tenant to its own page: all there is at first, then what is new."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from sqsuper.admin import views
from sqsuper.admin.control import Control
from sqsuper.admin.lines import Following
from sqsuper.admin.page.board import Board
from sqsuper.admin.page.rows import Row
from sqsuper.config.model import Config, Tenant
from sqsuper.supervisor.events import Event

LINES = 200
EVENTS = 100


class Tale:
    """One page's. Raises NotFoundError if there is no such tenant.

    A message may hold `row`; `samples`, as columns, in seconds since the epoch, bytes, threads
    and per cent of a core; `traffic`, the points of its history; `events` and `lines`, oldest
    first; `tokens`, as the admin API lists them, and `used`: when some were last, by their digest.
    The first one holds all of them, `all`, and `now`, by the clock that all these times are of.
    """

    def __init__(self, control: Control, board: Board, name: str) -> None:
        self._control = control
        self._board = board
        self._name = name
        self._row: Row | None = None
        self._sampled_at = float("-inf")
        self._stepped_at = 0.0
        self._said_why = ""
        self._config: Config | None = None
        self._tenant: Tenant | None = None
        self._used: dict[str, float | None] = {}
        self._events: deque[dict[str, Any]] = deque(control.events(name, EVENTS), maxlen=EVENTS)
        self._following = Following(control.lines(name, LINES))
        self._end_lines = control.follow(name, self._following.take)
        self._end_events = control.supervisor.events.watch(self._take_event)
        self._begun = False

    def close(self) -> None:
        """Listen to nothing any more."""
        self._end_lines()
        self._end_events()

    def _take_event(self, event: Event) -> None:
        if event.tenant == self._name:
            self._events.append(views.event_of(event))

    def more(self) -> bytes | None:
        """Return what is new as one line of JSON; empty: nothing, None: the tenant is gone."""
        if self._name not in self._control.supervisor.lives:
            return None
        row = self._board.row(self._name)
        told: dict[str, Any] = {} if self._begun else {"all": True, "now": self._control.wall()}
        if row is not None and row != self._row:
            self._row = row
            told["row"] = row._asdict()
        told.update(self._explained())
        told.update(self._measured())
        told.update(self._admitted())
        if self._events:
            told["events"] = list(self._events)
            self._events.clear()
        lines = self._following.taken()
        if lines:
            told["lines"] = lines
        self._begun = True
        return json.dumps(told).encode() if told else b""

    def _explained(self) -> dict[str, Any]:
        why = self._control.supervisor.why(self._name).as_json()
        told = {key: why[key] for key in ("next_try", "on_trial", "braked", "ending")}
        said = json.dumps(told)
        if said == self._said_why:
            return {}
        self._said_why = said
        return {"why": told}

    def _admitted(self) -> dict[str, Any]:
        told: dict[str, Any] = {}
        credentials, config = self._control.credentials, self._control.config
        if config is not self._config:
            self._config = config
            tenant = next((one for one in config.tenants if one.name == self._name), None)
            if tenant is not None and tenant is not self._tenant:
                self._tenant = tenant
                told["tokens"] = credentials.of(self._name)
        used = {} if self._tenant is None else credentials.last_used(self._tenant)
        if used != self._used:
            before, self._used = self._used, used
            told["used"] = {
                digest: at
                for digest, at in used.items()
                if digest not in before or before[digest] != at
            }
        return told

    def _measured(self) -> dict[str, Any]:
        told: dict[str, Any] = {}
        since = self._sampled_at
        series = self._control.supervisor.monitor.recent(self._name, since)
        at = [] if series is None else [when for when in series.at if when > since]
        if series is not None and at:
            first = len(series) - len(at)
            self._sampled_at = at[-1]
            told["samples"] = {
                "at": [round(self._board.since_the_epoch(when), 1) for when in at],
                "memory": list(series.memory[first:]),
                "threads": list(series.threads[first:]),
                "cpu": [round(share * 100, 2) for share in series.cpu[first:]],
            }
        course = self._board.course(self._name)
        if course is not None:
            points = course.points()
            if points["end"] != self._stepped_at:
                self._stepped_at = points["end"]
                points["end"] = round(self._board.since_the_epoch(points["end"]))
                told["traffic"] = points
        return told
