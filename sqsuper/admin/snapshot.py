"""What is known of a tenant as of now, gathered once for all who show it: page, API and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqsuper.gateway.statistics import Statistics
from sqsuper.supervisor.instance import RUNNING, State

if TYPE_CHECKING:
    from sqsuper.admin.control import Control


class Snapshot(NamedTuple):
    """One tenant. Sizes in bytes; `cpu`: of one core; None where nobody knows.

    `pid` is that of a running process, and `memory`, `threads` and `cpu` are what was measured of
    it. `restarts`: after failures; `storage`: as its embedded engine said, or was measured.
    """

    state: State
    pid: int | None
    memory: int | None
    threads: int | None
    cpu: float | None
    restarts: int
    storage: int | None
    traffic: Statistics


def snapshot_of(control: Control, name: str) -> Snapshot:
    """Return a tenant's. It must be one of `supervisor.lives`."""
    life, monitor = control.supervisor.lives[name], control.supervisor.monitor
    state = life.state
    pid = life.pid if state in RUNNING else None
    memory = threads = cpu = None
    if pid is not None:
        # As long as there is no memory, the newest sample is of the process before.
        memory, newest = monitor.memory(name), monitor.newest(name)
        if memory is not None and newest is not None:
            threads, cpu = newest
    traffic = control.gateway.statistics(name)
    restarts, storage = control.restarts(name), control.storage(name)
    return Snapshot(state, pid, memory, threads, cpu, restarts, storage, traffic)
