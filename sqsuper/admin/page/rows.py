"""What the page shows of a tenant: a row of plain values, cheap to make again each second."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqsuper.admin.page.traffic import Course
from sqsuper.admin.snapshot import Snapshot
from sqsuper.admin.views import started_at
from sqsuper.config.model import Tenant
from sqsuper.supervisor.lifecycle import Lifecycle

# Figures that nobody sees change are not worth a message.
MEMORY_GRAIN = 64 * 1024
LONGEST_REASON = 300
NEARLY_FULL = 0.9
"""Of its quota."""


class Row(NamedTuple):
    """One tenant as the table has it. Sizes in bytes, times in whole seconds since the epoch.

    `rate`: requests a second; `p50` and `p99`: milliseconds; `errors`: answers 5xx in the last
    ten minutes; `cpu`: per cent of a core; None where nothing is known. `mark`: what an operator
    did to it (`disabled`, `stopped by hand`), or how full it is once that matters.
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


def row_of(
    tenant: Tenant, life: Lifecycle, now: Snapshot, course: Course | None, offset: float
) -> Row:
    """Return a tenant's row, of its life and a snapshot of it.

    `offset`: what makes seconds since the epoch of the reactor's.
    """
    state, pid, memory, threads, cpu, restarts, storage, _ = now
    history = life.instance.history
    last = history[-1] if history else None
    started = None if pid is None else started_at(history)
    quota = tenant.settings.quota_bytes
    return Row(
        tenant.name,
        state.value,
        "" if last is None else last.reason[:LONGEST_REASON],
        None if last is None else int(last.at + offset),
        _mark(tenant, life.held, storage, quota),
        tenant.settings.engine.value,
        tenant.port,
        pid,
        None if started is None else int(started + offset),
        None if memory is None else memory - memory % MEMORY_GRAIN,
        threads,
        None if cpu is None else round(cpu * 100, 1),
        0.0 if course is None else shown(course.rate),
        0 if course is None else course.in_flight,
        None if course is None else shown(course.latency[0]),
        None if course is None else shown(course.latency[-1]),
        0 if course is None else course.requests,
        0 if course is None else course.errors,
        storage,
        quota,
        restarts,
        int(life.last_used + offset) if history else None,
    )


def _mark(tenant: Tenant, held: bool, storage: int | None, quota: int | None) -> str:
    if not tenant.enabled:
        return "disabled"
    if held:
        return "stopped by hand"
    if storage and quota and storage >= quota * NEARLY_FULL:
        return f"{storage * 100 // quota} % of its quota"
    return ""


def shown(value: Any) -> Any:
    """Return a figure with about three digits, which is what is shown of it."""
    if value is None:
        return None
    return round(value, 2 if value < 10 else 1 if value < 100 else 0)
