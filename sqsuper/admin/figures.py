"""What metrics are told of: one tenant's figures, and those of all, taken from who has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from sqsuper.admin.control import Control
from sqsuper.config.model import Tenant
from sqsuper.gateway.statistics import Statistics, Totals
from sqsuper.supervisor.instance import RUNNING, State


@attrs.frozen
class TenantFigures:
    """One tenant. Sizes in bytes; None where nobody knows, or there is nothing to know.

    `memory`, `threads` and `open_files` are those of a running instance.
    """

    name: str
    state: State
    statistics: Statistics
    restarts: int = 0
    storage: int | None = None
    quota: int | None = None
    memory: int | None = None
    threads: int | None = None
    open_files: int | None = None


@attrs.frozen
class ServiceFigures:
    """What is counted of the service as a whole. `causes`: of restarts; `events`: by kind."""

    totals: Totals
    wrong_tokens: int
    causes: Mapping[str, int]
    events: Mapping[str, int]


class Figures:
    """Where metrics come from."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def tenants(self) -> Iterator[TenantFigures]:
        """Give the figures of all tenants; some may come or go meanwhile."""
        lives = self._control.supervisor.lives
        for tenant in self._control.config.tenants:
            if tenant.name in lives:
                yield self._tenant(tenant)

    def service(self) -> ServiceFigures:
        """Return those of the service."""
        control = self._control
        return ServiceFigures(
            control.gateway.totals(),
            control.gateway.wrong_tokens,
            dict(control.tally.causes),
            dict(control.tally.events),
        )

    def _tenant(self, tenant: Tenant) -> TenantFigures:
        control, name = self._control, tenant.name
        monitor = control.supervisor.monitor
        state = control.supervisor.lives[name].state
        runs = state in RUNNING
        newest = monitor.newest(name) if runs else None
        detail = monitor.detail(name) if runs else None
        return TenantFigures(
            name,
            state,
            control.gateway.statistics(name),
            restarts=control.restarts(name),
            storage=control.storage(name),
            quota=tenant.settings.quota_bytes,
            memory=monitor.memory(name) if runs else None,
            threads=None if newest is None else newest[0],
            open_files=None if detail is None else detail.descriptors,
        )
