"""The pools of all tenants that requests came for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from twisted.internet.defer import Deferred

from sqsuper.config.model import Tenant
from sqsuper.gateway.upstream import Pool


class Pools:
    """Made when first asked for, by `new`; `tenants` is looked at as it changes."""

    def __init__(self, tenants: Mapping[str, Tenant], new: Callable[[Tenant], Pool]) -> None:
        self._tenants = tenants
        self._new = new
        self._pools: dict[str, Pool] = {}

    def __iter__(self) -> Iterator[Pool]:
        # A sweep may let one be dropped.
        return iter(list(self._pools.values()))

    def of(self, tenant: str) -> Pool:
        """Return a tenant's pool. Raises KeyError for an unknown one."""
        pool = self._pools.get(tenant)
        if pool is None:
            pool = self._pools[tenant] = self._new(self._tenants[tenant])
        return pool

    def adjust(self, changed: Mapping[str, Tenant]) -> None:
        """Go on with other settings."""
        for name, pool in self._pools.items():
            if name in changed:
                pool.adjust(changed[name].settings)

    def drop(self, tenant: str, dropped: Callable[[], None]) -> None:
        """Forget a tenant that is gone, and call `dropped`, when no request is under way.

        Not if it has come back until then.
        """
        pool = self._pools.get(tenant)
        if pool is None:
            dropped()
            return

        def quiet() -> None:
            if tenant not in self._tenants and self._pools.get(tenant) is pool:
                del self._pools[tenant]
                pool.close()
                dropped()

        pool.when_quiet(quiet)

    def quiet(self, tenant: str) -> Deferred[None]:
        """Return a Deferred that fires when no request has a slot of the tenant's instance."""
        done: Deferred[None] = Deferred()
        pool = self._pools.get(tenant)
        if pool is None:
            done.callback(None)
        else:
            pool.when_quiet(lambda: done.callback(None))
        return done

    async def all_quiet(self) -> None:
        """Return when no request has a slot of any instance."""
        for name in list(self._pools):
            await self.quiet(name)

    def inflight(self, tenant: str) -> int:
        """Return how many requests have a slot of the tenant's instance."""
        pool = self._pools.get(tenant)
        return 0 if pool is None else pool.inflight

    def all_inflight(self) -> dict[str, int]:
        """Return `inflight` of all tenants that have any."""
        return {name: pool.inflight for name, pool in self._pools.items() if pool.inflight}

    def sweep(self, now: float) -> None:
        """See `Pool.sweep`."""
        for pool in self:
            pool.sweep(now)

    def close(self) -> None:
        """See `Pool.close`."""
        for pool in self:
            pool.close()
