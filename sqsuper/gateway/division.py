"""The slots of all tenants among the workers: `shares` for each, and time where it plays a part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqsuper.config.model import Engine, Tenant
from sqsuper.gateway.shares import Order, Shares

# A command engine goes on for so long with the requests of a worker that has ended.
LEFT_BEHIND = 0.08
# What cannot be divided equally goes to the next worker.
ROTATE_INTERVAL = 0.05


class Division:
    """Who of `workers` may use how many slots of each of `tenants`.

    `say(tenant, order)` tells a worker; `later` is `IReactorTime.callLater`. `tenants` is looked
    at as it changes.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        workers: int,
        say: Callable[[str, Order], None],
        later: Callable[..., Any],
    ) -> None:
        self._tenants = tenants
        self._workers = workers
        self._say = say
        self._later = later
        self._shares: dict[str, Shares] = {}
        self._contended: set[str] = set()
        self._rotation: Any = None
        self._closed = False

    def report(
        self, worker: int, tenant: str, serial: int, *, cap: int, demand: int, waiting: int
    ) -> None:
        """Take what a worker says; see `Shares.report`."""
        shares = self._shares.get(tenant)
        if shares is None:
            if tenant not in self._tenants:
                return
            settings = self._tenants[tenant].settings
            shares = Shares(settings.max_inflight, settings.queue, self._workers)
            self._shares[tenant] = shares
        orders = shares.report(worker, serial, cap=cap, demand=demand, waiting=waiting)
        self._order(tenant, orders)

    def resize(self, tenant: Tenant) -> None:
        """Go on with other settings of a tenant."""
        shares = self._shares.get(tenant.name)
        if shares is not None:
            settings = tenant.settings
            orders = shares.resize(settings.max_inflight, settings.queue, self._workers)
            self._order(tenant.name, orders)

    def gone(self, worker: int) -> None:
        """Let the others have the slots of a worker that has ended, once its requests are over."""
        for name, shares in self._shares.items():
            left = shares.leave_behind(worker)
            if left:
                self._inherit(name, left)

    def close(self) -> None:
        """Divide no more: the workers end."""
        self._closed = True
        if self._rotation is not None and self._rotation.active():
            self._rotation.cancel()

    def _inherit(self, name: str, slots: int) -> None:
        def found() -> None:
            if not self._closed:
                self._order(name, self._shares[name].found(slots))

        tenant = self._tenants.get(name)
        if tenant is not None and tenant.settings.engine is Engine.COMMAND:
            self._later(LEFT_BEHIND, found)
        else:
            found()

    def _order(self, tenant: str, orders: Iterable[Order]) -> None:
        for order in orders:
            self._say(tenant, order)
        if self._shares[tenant].contended:
            self._contended.add(tenant)
            if self._rotation is None and not self._closed:
                self._rotation = self._later(ROTATE_INTERVAL, self._rotate)
        else:
            self._contended.discard(tenant)

    def _rotate(self) -> None:
        self._rotation = None
        for tenant in list(self._contended):
            self._order(tenant, self._shares[tenant].rotate())
