"""The gateway as a service: listeners, shared state, one sweep for all deadlines."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from sqsuper.config.model import Config, Tenant
from sqsuper.gateway.accesslog import AccessLog
from sqsuper.gateway.accounts import Accounts
from sqsuper.gateway.applying import Prepared, TenantChanges
from sqsuper.gateway.client import ClientConnection
from sqsuper.gateway.clients import Clients
from sqsuper.gateway.commons import Commons, Own
from sqsuper.gateway.doors import Door, Doors
from sqsuper.gateway.failure_log import FailureLog
from sqsuper.gateway.limits import Limits, client_address
from sqsuper.gateway.listening import Wires, wires_for
from sqsuper.gateway.memo import KnownAnswers, KnownRequests
from sqsuper.gateway.pools import Pools
from sqsuper.gateway.rate import Bucket
from sqsuper.gateway.routes import Routes
from sqsuper.gateway.spool import Spool
from sqsuper.gateway.statistics import Lag, Row, Statistics, Totals
from sqsuper.gateway.token_use import TokenUse
from sqsuper.gateway.upstream import Pool
from sqsuper.gateway.wire import Unheard, Wire, WireUser
from sqsuper.http1 import answers
from sqsuper.http1.head import RequestHead
from sqsuper.instances import Full, Instances
from sqsuper.slices import Slices

SWEEP_INTERVAL = 0.25
LAST_CALL = 1.0
"""Seconds for which a connection stays open at the stop without a request, to bring one more."""
PARTING = 0.5
"""Seconds for the answers that end what is under way when `drain` is over to reach the clients."""

log = Logger()


class GatewayService(Service):
    """Serves every tenant behind the endpoints of `gateway.listen`.

    `nested`: whether connections are our own sockets in a nested loop, or else Twisted's
    transports (None: nested where that is possible). `commons`: what is counted together with
    other gateways (None: there are none).
    `startService` returns a Deferred that fires when every endpoint is bound, and fails with
    the reactor's own error when one cannot be. `stopService` returns one that fires when no
    connection is left: requests under way are given the longest `drain` of the tenants, and
    then an answer of ours, unless theirs has begun.
    """

    def __init__(
        self,
        config: Config,
        instances: Instances,
        reactor: Any,
        nested: bool | None = None,
        *,
        now: Callable[[], float] = time.time,
        commons: Commons | None = None,
    ) -> None:
        self.config = config
        self.now = now
        self.seconds: Callable[[], float] = reactor.seconds
        self._reactor = reactor
        self._instances = instances
        self._nested = nested
        self._commons = commons or Own()
        self._tenants = {tenant.name: tenant for tenant in config.tenants}
        self._pools = Pools(self._tenants, self._new_pool)
        self.pool = self._pools.of
        self._clients = Clients()
        self._wires: Wires | None = None
        self._doors: Doors | None = None
        self._sweeper: Any = None
        self._parting: Any = None
        self._stopping = False
        self._last_call = 0.0
        gateway = config.gateway
        self.timing = Limits.of(gateway)
        self._routes = Routes.of(config.tenants)
        self.lookup = self._routes.lookup
        self.known_requests = KnownRequests()
        self._known_answers = KnownAnswers()
        self.access = AccessLog.of(gateway, self.lookup, now)
        self.rates: dict[str, Bucket] = {}
        self.full: dict[str, Full] = {}
        for tenant in config.tenants:
            self._take_rate(tenant)
        self.tokens = TokenUse(
            self._routes,
            gateway.wrong_tokens_per_minute,
            self._commons.wrong_token,
            seconds=self.seconds,
            now=now,
        )
        self._accounts = Accounts(self._ahead)
        self.counts = self._accounts.counts
        self.lag = Lag()
        self._swept: float | None = None
        self._connections = self._commons.connections(gateway)
        self.failed = FailureLog(self.seconds).failed
        self._spool_room = self._commons.spool_room(config.run_dir)
        self._id_prefix = secrets.token_hex(6).encode("ascii")
        self._ids = itertools.count(1)

    # Service

    def startService(self) -> Deferred[None]:
        super().startService()  # type: ignore[no-untyped-call]
        self._wires = wires = wires_for(self._reactor, self._nested)
        self._doors = doors = Doors(wires, self._accept)
        self._sweeper = self._reactor.callLater(SWEEP_INTERVAL, self._sweep)
        return Deferred.fromCoroutine(self._listen(doors))

    async def _listen(self, doors: Doors) -> None:
        if self.access is not None:
            self.access.open()
        await doors.open(self.config.gateway.listen)

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def stop_listening(self) -> None:
        """Take no more connections. Idempotent."""
        if self._doors is not None:
            await self._doors.close()

    async def _stop(self) -> None:
        self._stopping = True
        await self.stop_listening()
        drain = max((t.settings.drain for t in self._tenants.values()), default=0.0)
        self._last_call = min(LAST_CALL, drain)
        self._close_idle()
        cut = self._reactor.callLater(drain, self._end_all)
        await self._clients.all_gone()
        if cut.active():
            # Of clients that went away: an instance that is ended in a write may lose data.
            await self._pools.all_quiet()
        for call in (cut, self._parting):
            if call is not None and call.active():
                call.cancel()
        if self._sweeper is not None and self._sweeper.active():
            self._sweeper.cancel()
        self._pools.close()
        if self.access is not None:
            self.access.close()
        if self._wires is not None:
            self._wires.close()

    def _close_idle(self) -> None:
        # A request may be on its way on a connection that was used just now, or is new.
        self._clients.close_idle(self.seconds() - self._last_call)

    def _end_all(self) -> None:
        # Of the instances' `stop_grace` this takes a part.
        grace = min((t.settings.stop_grace for t in self._tenants.values()), default=0.0)
        parting = min(PARTING, grace / 4)
        self._parting = self._reactor.callLater(parting, self._clients.give_up_all)
        self._clients.end_all()
        self._pools.close()

    def reopen_logs(self) -> None:
        """Open the access log anew, such as after it was renamed."""
        if self.access is not None:
            self.access.reopen()

    def addresses(self) -> Sequence[IAddress]:
        """Return what the listeners are bound to, in the order of binding."""
        return [] if self._doors is None else self._doors.addresses()

    def _sweep(self) -> None:
        self._sweeper = self._reactor.callLater(SWEEP_INTERVAL, self._sweep)
        now = self.seconds()
        if self._swept is not None:
            self.lag.late(now - self._swept - SWEEP_INTERVAL, now)
        self._swept = now
        if self._stopping:
            self._close_idle()
        self._clients.sweep(now)
        self._pools.sweep(now)
        if self.access is not None:
            self.access.sweep(now)

    def _accept(self, wire: Wire, peer: str, door: Door) -> WireUser:
        self.counts.accepted += 1
        if self._stopping or not self._connections.enter(peer):
            return self._turn_away(wire, peer)
        client = ClientConnection(self, wire, peer, door)
        self._clients.add(client)
        return client

    def _turn_away(self, wire: Wire, peer: str) -> WireUser:
        reason = "the gateway is stopping" if self._stopping else "too many connections"
        code = "draining" if self._stopping else "overloaded"
        answer = answers.error(503, code, reason, fields=(b"Retry-After: 1\r\n",))
        self.counts.reject(code)
        wire.send(answer)
        if self.access is not None:
            self.access.refused(peer, b"", b"", answer, seconds=0.0)
        wire.close()
        return Unheard()

    # What may be asked of a gateway

    async def prepare(
        self, config: Config, changed: Sequence[Tenant], gone: Sequence[str], slices: Slices
    ) -> Prepared:
        """Make ready for another configuration, without that anything is seen of it.

        `changed`: the tenants that are new in it or say something else; `gone`: the names of
        those that are not in it. New endpoints are bound, a new access log is opened; raises
        what the reactor does, or OSError, when that fails, and all is as it was. One at a time.
        """
        assert self._doors is not None, "it serves"
        gateway, before = config.gateway, self.config.gateway
        access = self.access
        if (gateway.access_log, gateway.trusted_proxies) != (
            before.access_log,
            before.trusted_proxies,
        ):
            access = AccessLog.of(gateway, self.lookup, self.now)
            if access is not None:
                access.open()
        try:
            moving = await self._doors.prepare(gateway.listen)
        except BaseException:
            if access is not None and access is not self.access:
                access.close()
            raise
        change = TenantChanges(self._routes, gone)
        await slices.run(change.steps(self._tenants, changed))
        return Prepared(config, moving, access, change)

    async def commit(self, prepared: Prepared) -> None:
        """Go over to what was prepared: first everything but the endpoints, in one step.

        What came in by an endpoint that is closed ends with its next answer.
        """
        gateway = prepared.config.gateway
        self.config = prepared.config
        timing = Limits.of(gateway)
        if timing != self.timing:
            self.timing = timing
            self._clients.retime(timing)
        self._connections.resize(gateway.max_connections, gateway.max_connections_per_address)
        self.tokens.resize(gateway.wrong_tokens_per_minute)
        access, self.access = self.access, prepared.access
        if access is not None and access is not self.access:
            access.close()
        self._go_over(prepared.change)
        closed = await prepared.moving.commit()
        self._clients.leave(closed)

    async def withdraw(self, prepared: Prepared) -> None:
        """Undo what was prepared."""
        await prepared.moving.withdraw()
        if prepared.access is not None and prepared.access is not self.access:
            prepared.access.close()

    def change(self, changed: Iterable[Tenant], gone: Iterable[str]) -> None:
        """Go on with other settings and tokens of some tenants, and without those `gone`.

        A token that admits no more ends the open exchanges that it began; nothing else is
        touched.
        """
        change = TenantChanges(self._routes, list(gone))
        for _ in change.steps(self._tenants, changed):
            pass
        self._go_over(change)

    def _go_over(self, change: TenantChanges) -> None:
        for name in change.gone:
            if self._tenants.pop(name, None) is not None:
                self.rates.pop(name, None)
                self.full.pop(name, None)
                self._pools.drop(name, partial(self._accounts.forget, name))
        self._tenants.update(change.changed)
        for tenant in change.rated:
            self._take_rate(tenant)
        self._pools.adjust(change.changed)
        revoked = change.routes.commit()
        self.known_requests.clear()
        if revoked:
            self._clients.end_revoked(revoked)

    def filled(self, tenant: str, full: Full | None) -> None:
        """Answer a tenant's inserts and updates with 507 from now on; None: no longer."""
        if full is None:
            self.full.pop(tenant, None)
        else:
            self.full[tenant] = full

    def quiet(self, tenant: str) -> Deferred[None]:
        """Return a Deferred that fires when no request has a slot of the tenant's instance."""
        return self._pools.quiet(tenant)

    def inflight(self, tenant: str) -> int:
        """Return how many requests have a slot of the tenant's instance."""
        return self._pools.inflight(tenant)

    def all_inflight(self) -> dict[str, int]:
        """Return `inflight` of all tenants that have any."""
        return self._pools.all_inflight()

    def statistics(self, tenant: str) -> Statistics:
        """Return what was counted of a tenant since the start; all zero for an unknown one."""
        return self._accounts.statistics(tenant, self.inflight(tenant))

    def totals(self) -> Totals:
        """Return what was counted in all since the start, and of the gateway itself."""
        in_flight = sum(pool.inflight for pool in self._pools)
        return self._accounts.totals(in_flight, self.connections, self.lag.worst)

    @property
    def connections(self) -> int:
        """How many clients' connections are open."""
        return self._connections.total

    def take_counts(self) -> Iterator[tuple[str, Row]]:
        """See `Accounts.take`."""
        return self._accounts.take()

    def _ahead(self) -> float:
        return self.now() - self.seconds()

    def token_used(self, digest: bytes) -> float | None:
        """Return when a token was last admitted, in Unix seconds; None: not since the start."""
        return self.tokens.last(digest)

    @property
    def wrong_tokens(self) -> int:
        """How many requests came with an unknown token, since the start."""
        return self.tokens.wrong

    def _take_rate(self, tenant: Tenant) -> None:
        rate = tenant.settings.rate
        if rate is None:
            self.rates.pop(tenant.name, None)
        else:
            self.rates[tenant.name] = self._commons.bucket(tenant.name, rate, self.seconds())

    # Front

    def later(self, delay: float, call: Callable[[], None]) -> Callable[[], None]:
        pending = self._reactor.callLater(delay, call)

        def cancel() -> None:
            if pending.active():
                pending.cancel()

        return cancel

    def wrong_token(self, peer: str, head: RequestHead) -> int | None:
        forwarded = [value for name, value, _ in head.fields if name == b"x-forwarded-for"]
        address = client_address(peer, forwarded, self.config.gateway.trusted_proxies)
        return self.tokens.count_wrong(address)

    def _new_pool(self, tenant: Tenant) -> Pool:
        assert self._wires is not None, "requests come only after the start"
        return Pool(
            tenant.name,
            max_inflight=tenant.settings.max_inflight,
            queue=tenant.settings.queue,
            queue_timeout=tenant.settings.queue_timeout,
            instances=self._instances,
            connector=self._wires.connector,
            seconds=self.seconds,
            later=self.later,
            slots=self._commons.slots(tenant),
            known_answers=self._known_answers,
            counts=self.counts.of(tenant.name),
        )

    def new_spool(self) -> Spool:
        return Spool(self._spool_room)

    def new_request_id(self) -> bytes:
        return b"%b-%x" % (self._id_prefix, next(self._ids))

    def health(self) -> tuple[int, bytes]:
        status, word = (503, "stopping") if self._stopping else (200, "ok")
        line = json.dumps({"status": word, "tenants": len(self._tenants)})
        return status, line.encode("ascii") + b"\n"

    def closing(self) -> bool:
        return self._stopping

    def gone(self, client: ClientConnection) -> None:
        self._connections.leave(client.peer)
        self._clients.discard(client)
