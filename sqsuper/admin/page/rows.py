"""What the page shows of a tenant: a row of plain values, cheap to make again each second."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import attrs

from sqsuper.admin.control import Control
from sqsuper.admin.page.traffic import Course
from sqsuper.admin.views import started_at
from sqsuper.config.model import Tenant
from sqsuper.supervisor.instance import RUNNING

# Figures that nobody sees change are not worth a message.
MEMORY_GRAIN = 64 * 1024
LONGEST_REASON = 300


@attrs.frozen
class Row:
    """One tenant as the table has it. Sizes in bytes, times in whole seconds since the epoch.

    `rate`: requests a second; `p50` and `p99`: milliseconds; `errors`: answers 5xx in the last
    ten minutes; `cpu`: per cent of a core; None where nothing is known. `mark`: what an operator
    did to it (`disabled`, `stopped by hand`).
    """

    name: str
    state: str
    reason: str
    since: int | None
    mark: str
    engine: str
    port: int | None
    pid: int | None
    started: int | None
    memory: int | None
    threads: int | None
    cpu: float | None
    rate: float
    in_flight: int
    p50: float | None
    p99: float | None
    requests: int
    errors: int
    storage: int | None
    quota: int | None
    restarts: int
    active: int | None


FIELDS = tuple(field.name for field in attrs.fields(Row))

_values_of: Callable[[Row], tuple[Any, ...]] = attrgetter(*FIELDS)


def as_dict(row: Row) -> dict[str, Any]:
    """Return a row's values by name."""
    return dict(zip(FIELDS, _values_of(row), strict=True))


def row_of(control: Control, tenant: Tenant, course: Course | None, offset: float) -> Row:
    """Return a tenant's row as of now. It must be one of `supervisor.lives`.

    `offset`: what makes seconds since the epoch of the reactor's.
    """
    name = tenant.name
    life = control.supervisor.lives[name]
    history = life.instance.history
    state = life.state
    pid = life.pid if state in RUNNING else None
    memory = threads = cpu = None
    if pid is not None:
        memory = control.supervisor.monitor.memory(name)
        newest = control.supervisor.monitor.newest(name)
        if memory is not None and newest is not None:
            memory -= memory % MEMORY_GRAIN
            threads, cpu = newest[0], round(newest[1] * 100, 1)
    last = history[-1] if history else None
    started = None if pid is None else started_at(history)
    return Row(
        name,
        state.value,
        "" if last is None else last.reason[:LONGEST_REASON],
        None if last is None else int(last.at + offset),
        _mark(tenant, held=life.held),
        tenant.settings.engine.value,
        tenant.port,
        pid,
        None if started is None else int(started + offset),
        memory,
        threads,
        cpu,
        0.0 if course is None else shown(course.rate),
        0 if course is None else course.in_flight,
        None if course is None else shown(course.latency[0]),
        None if course is None else shown(course.latency[-1]),
        0 if course is None else course.requests,
        0 if course is None else course.errors,
        control.storage(name),
        tenant.settings.quota_bytes,
        control.restarts(name),
        int(life.last_used + offset) if history else None,
    )


def _mark(tenant: Tenant, *, held: bool) -> str:
    if not tenant.enabled:
        return "disabled"
    return "stopped by hand" if held else ""


def shown(value: Any) -> Any:
    """Return a figure with about three digits, which is what is shown of it."""
    if value is None:
        return None
    return round(value, 2 if value < 10 else 1 if value < 100 else 0)
