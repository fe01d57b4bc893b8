"""What metrics are told of: one tenant's figures, and those of all, taken from who has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from sqsuper.admin.control import Control
from sqsuper.admin.snapshot import snapshot_of
from sqsuper.config.model import Tenant
from sqsuper.gateway.statistics import Statistics, Totals
from sqsuper.supervisor.instance import State


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
    """What is counted of the service as a whole. `causes`: of restarts; `events`: by kind.

    `backup`: when the last whole daily backup was made, in seconds since the epoch; 0: there is
    none; None: none are made.
    """

    totals: Totals
    wrong_tokens: int
    causes: Mapping[str, int]
    events: Mapping[str, int]
    backup: float | None = None


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
        backups = control.archives.standing()
        return ServiceFigures(
            control.gateway.totals(),
            control.gateway.wrong_tokens,
            dict(control.tally.causes),
            dict(control.tally.events),
            None if backups is None else backups.last or 0.0,
        )

    def _tenant(self, tenant: Tenant) -> TenantFigures:
        name = tenant.name
        now = snapshot_of(self._control, name)
        detail = None if now.pid is None else self._control.supervisor.monitor.detail(name)
        return TenantFigures(
            name,
            now.state,
            now.traffic,
            restarts=now.restarts,
            storage=now.storage,
            quota=tenant.settings.quota_bytes,
            memory=now.memory,
            threads=now.threads,
            open_files=None if detail is None else detail.descriptors,
        )
