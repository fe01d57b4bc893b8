"""The slots of all tenants among the workers: `shares` for each, and time where it plays a part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from sqsuper.config.model import Engine, Tenant
from sqsuper.gateway.estate import LOOK_INTERVAL, Estate
from sqsuper.gateway.shares import Order, Shares

# What cannot be divided equally goes to the next worker.
ROTATE_INTERVAL = 0.05


class Remaining(Protocol):
    """What is known of what command engines still do for a worker that has ended."""

    def port(self, tenant: str) -> int | None:
        """Return where a tenant's instance listens, or did last; None: it never did."""

    def orphaned(self) -> Mapping[int, AbstractSet[int]] | None:
        """See `orphaned.orphaned`."""

    def patience(self) -> float:
        """Return for how many seconds a request that nobody waits for may keep its slot."""


class Division:
    """Who of `workers` may use how many slots of each of `tenants`.

    `say(tenant, order)` tells a worker; `clock` is `IReactorTime`. `tenants` is looked at as it
    changes.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        workers: int,
        say: Callable[[str, Order], None],
        remaining: Remaining,
        clock: Any,
    ) -> None:
        self._tenants = tenants
        self._workers = workers
        self._say = say
        self._remaining = remaining
        self._clock = clock
        self._shares: dict[str, Shares] = {}
        self._contended: set[str] = set()
        self._rotation: Any = None
        self._estates: list[Estate] = []
        self._look_call: Any = None
        self._when_quiet: list[tuple[str | None, Deferred[None]]] = []
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
        """Let the others have the slots of a worker that has ended, once its requests are over.

        An embedded engine is done with them at once; a command engine goes on with each.
        """
        left = {}
        for name, shares in self._shares.items():
            slots = shares.leave_behind(worker)
            tenant = self._tenants.get(name)
            if tenant is not None and tenant.settings.engine is Engine.COMMAND and slots:
                left[name] = slots
            elif slots:
                self._order(name, shares.found(slots))
        if not left or self._closed:
            return
        orphans = self._remaining.orphaned()
        until = self._clock.seconds() + self._remaining.patience()
        for name, slots in left.items():
            port = self._remaining.port(name) or 0
            seen = None if orphans is None else orphans.get(port)
            self._estates.append(Estate(name, port, slots, seen, until))
        if self._look_call is None:
            self._look_call = self._clock.callLater(LOOK_INTERVAL, self._look)

    def at_work(self, tenant: str) -> int:
        """Return how many requests of workers that have ended an instance is at work on."""
        return sum(estate.at_work for estate in self._estates if estate.tenant == tenant)

    def quiet(self, tenant: str | None = None) -> Deferred[None]:
        """Return a Deferred that fires when nothing is done for workers that have ended.

        By the instance of `tenant`; None: by any.
        """
        done: Deferred[None] = Deferred()
        self._when_quiet.append((tenant, done))
        self._tell_quiet()
        return done

    def close(self) -> None:
        """Divide no more: the workers have ended. Who waits for quiet waits no longer."""
        self._closed = True
        self._estates.clear()
        self._tell_quiet()
        for call in (self._rotation, self._look_call):
            if call is not None and call.active():
                call.cancel()

    def _look(self) -> None:
        self._look_call = None
        orphans = self._remaining.orphaned()
        now = self._clock.seconds()
        for estate in self._estates:
            seen = None if orphans is None else orphans.get(estate.port)
            free = estate.look(seen, now)
            if free:
                self._order(estate.tenant, self._shares[estate.tenant].found(free))
        self._estates = [estate for estate in self._estates if estate.slots]
        if self._estates:
            self._look_call = self._clock.callLater(LOOK_INTERVAL, self._look)
        self._tell_quiet()

    def _tell_quiet(self) -> None:
        busy = {estate.tenant for estate in self._estates}
        waiting, self._when_quiet = self._when_quiet, []
        for tenant, done in waiting:
            if tenant in busy or (tenant is None and busy):
                self._when_quiet.append((tenant, done))
            else:
                done.callback(None)

    def _order(self, tenant: str, orders: Iterable[Order]) -> None:
        for order in orders:
            self._say(tenant, order)
        if self._shares[tenant].contended:
            self._contended.add(tenant)
            if self._rotation is None and not self._closed:
                self._rotation = self._clock.callLater(ROTATE_INTERVAL, self._rotate)
        else:
            self._contended.discard(tenant)

    def _rotate(self) -> None:
        self._rotation = None
        for tenant in list(self._contended):
            self._order(tenant, self._shares[tenant].rotate())
