"""The gateway as a service: listeners, shared state, one sweep for all deadlines."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from sqsuper.config.model import Config, Tenant
from sqsuper.gateway.accesslog import AccessLog
from sqsuper.gateway.applying import Prepared, TenantChanges
from sqsuper.gateway.client import ClientConnection
from sqsuper.gateway.commons import Commons, Own
from sqsuper.gateway.doors import Door, Doors
from sqsuper.gateway.failure import Failure
from sqsuper.gateway.limits import (
    Limits,
    LineBudget,
    WrongTokens,
    client_address,
)
from sqsuper.gateway.listening import Wires, wires_for
from sqsuper.gateway.memo import KnownAnswers, KnownRequests
from sqsuper.gateway.rate import Bucket
from sqsuper.gateway.routes import Routes
from sqsuper.gateway.spool import Spool
from sqsuper.gateway.statistics import Counts, Lag, Ledger, Row, Statistics, Totals
from sqsuper.gateway.upstream import Pool
from sqsuper.gateway.wire import Unheard, Wire, WireUser
from sqsuper.http1 import answers
from sqsuper.http1.credentials import Grant
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
        self._pools: dict[str, Pool] = {}
        self._clients: set[ClientConnection] = set()
        self._wires: Wires | None = None
        self._doors: Doors | None = None
        self._sweeper: Any = None
        self._parting: Any = None
        self._stopping = False
        self._last_call = 0.0
        self._all_gone: Deferred[None] | None = None
        gateway = config.gateway
        self.timing = Limits.of(gateway)
        self._routes = Routes.of(config.tenants)
        self.lookup = self._routes.lookup
        self.known_requests = KnownRequests()
        self._known_answers = KnownAnswers()
        self.access = AccessLog.of(gateway, self._grant_of, now)
        self.rates: dict[str, Bucket] = {}
        self.full: dict[str, Full] = {}
        for tenant in config.tenants:
            self._take_rate(tenant)
        self._wrong_tokens = WrongTokens(gateway.wrong_tokens_per_minute)
        self.wrong_tokens = 0
        """How many requests came with an unknown token, since the start."""
        self.counts = Counts()
        self.lag = Lag()
        self._ledger = Ledger()
        self._swept: float | None = None
        self._connections = self._commons.connections(gateway)
        self._lines = LineBudget()
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
        if self._clients:
            self._all_gone = Deferred()
            await self._all_gone
        if cut.active():
            # Of clients that went away: an instance that is ended in a write may lose data.
            for name in list(self._pools):
                await self.quiet(name)
        for call in (cut, self._parting):
            if call is not None and call.active():
                call.cancel()
        if self._sweeper is not None and self._sweeper.active():
            self._sweeper.cancel()
        for pool in self._pools.values():
            pool.close()
        if self.access is not None:
            self.access.close()
        if self._wires is not None:
            self._wires.close()

    def _close_idle(self) -> None:
        # A request may be on its way on a connection that was used just now, or is new.
        before = self.seconds() - self._last_call
        for client in list(self._clients):
            client.close_if_idle(before)

    def _end_all(self) -> None:
        # Of the instances' `stop_grace` this takes a part.
        grace = min((t.settings.stop_grace for t in self._tenants.values()), default=0.0)
        self._parting = self._reactor.callLater(min(PARTING, grace / 4), self._give_up_all)
        for client in list(self._clients):
            try:
                client.overstayed()
            except Exception:
                log.failure("the end of a request at the stop")
                client.abort()
        for pool in self._pools.values():
            pool.close()

    def _give_up_all(self) -> None:
        for client in list(self._clients):
            client.give_up()

    def _check_gone(self) -> None:
        if self._all_gone is not None and not self._clients:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

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
        for client in list(self._clients):
            try:
                client.sweep(now)
            except Exception:
                # A defect ends its own connection, and no other's deadlines.
                log.failure("the deadlines of a connection")
                client.abort()
        for pool in self._pools.values():
            pool.sweep(now)
        if self.access is not None:
            self.access.sweep(now)

    def _accept(self, wire: Wire, address: IAddress | None, door: Door) -> WireUser:
        peer = getattr(address, "host", "") or ""
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
            access = AccessLog.of(gateway, self._grant_of, self.now)
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
            for client in self._clients:
                client.retime(timing)
        self._connections.resize(gateway.max_connections, gateway.max_connections_per_address)
        self._wrong_tokens.resize(gateway.wrong_tokens_per_minute)
        access, self.access = self.access, prepared.access
        if access is not None and access is not self.access:
            access.close()
        self._go_over(prepared.change)
        closed = await prepared.moving.commit()
        for client in list(self._clients):
            if client.door in closed:
                client.leave()

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
                self._drop_pool(name)
        self._tenants.update(change.changed)
        for tenant in change.rated:
            self._take_rate(tenant)
        for name, pool in self._pools.items():
            if name in change.changed:
                pool.adjust(change.changed[name].settings)
        revoked = change.routes.commit()
        self.known_requests.clear()
        if revoked:
            for client in list(self._clients):
                client.end_if_revoked(revoked)

    def _drop_pool(self, name: str) -> None:
        """Forget the connections to a tenant's instance when no request is under way."""
        pool = self._pools.get(name)
        if pool is None:
            self._forget_counts(name)
            return

        def quiet() -> None:
            if name not in self._tenants and self._pools.get(name) is pool:
                del self._pools[name]
                pool.close()
                self._forget_counts(name)

        pool.when_quiet(quiet)

    def filled(self, tenant: str, full: Full | None) -> None:
        """Answer a tenant's inserts and updates with 507 from now on; None: no longer."""
        if full is None:
            self.full.pop(tenant, None)
        else:
            self.full[tenant] = full

    def quiet(self, tenant: str) -> Deferred[None]:
        """Return a Deferred that fires when no request has a slot of the tenant's instance."""
        done: Deferred[None] = Deferred()
        pool = self._pools.get(tenant)
        if pool is None:
            done.callback(None)
        else:
            pool.when_quiet(lambda: done.callback(None))
        return done

    def inflight(self, tenant: str) -> int:
        """Return how many requests have a slot of the tenant's instance."""
        pool = self._pools.get(tenant)
        return 0 if pool is None else pool.inflight

    def all_inflight(self) -> dict[str, int]:
        """Return `inflight` of all tenants that have any."""
        return {name: pool.inflight for name, pool in self._pools.items() if pool.inflight}

    def statistics(self, tenant: str) -> Statistics:
        """Return what was counted of a tenant since the start; all zero for an unknown one."""
        row = self.counts.take(tenant, self._ahead())
        if row is not None:
            self._ledger.enter(tenant, row)
        return self._ledger.of(tenant, self.inflight(tenant))

    def totals(self) -> Totals:
        """Return what was counted in all since the start, and of the gateway itself."""
        for tenant, row in self.take_counts():
            self._ledger.enter(tenant, row)
        self._ledger.enter_gateway(*self.counts.take_gateway())
        return Totals(
            all=self._ledger.all(sum(pool.inflight for pool in self._pools.values())),
            rejected=dict(self._ledger.rejected),
            accepted=self._ledger.accepted,
            connections=self.connections,
            loop_lag=self.lag.worst,
        )

    @property
    def connections(self) -> int:
        """How many clients' connections are open."""
        return self._connections.total

    def take_counts(self) -> Iterator[tuple[str, Row]]:
        """Return, by tenant, what was counted since it was last taken, times in Unix seconds.

        For who keeps a ledger in place of this gateway: `statistics` and `totals` take, too.
        """
        return self.counts.take_all(self._ahead())

    def _ahead(self) -> float:
        return self.now() - self.seconds()

    def _forget_counts(self, tenant: str) -> None:
        self.counts.forget(tenant)
        self._ledger.forget(tenant)

    def token_used(self, digest: bytes) -> float | None:
        """Return when a token was last admitted, in Unix seconds; None: not since the start."""
        grant = self.lookup(digest)
        if grant is None or grant.used is None:
            return None
        return self.now() - (self.seconds() - grant.used)

    def tokens_used(self, since: float) -> dict[str, float]:
        """Return, by digest in hex, when those tokens were admitted that were since `since`.

        `since` is in the reactor's seconds, the times in the result are Unix seconds.
        """
        ahead = self.now() - self.seconds()
        return {
            digest.hex(): grant.used + ahead
            for digest, grant in self._routes.grants()
            if grant.used is not None and grant.used >= since
        }

    def wrong_token_elsewhere(self, address: str) -> None:
        """Count an unknown token that another gateway had from `address`."""
        self._wrong_tokens.count(address, self.seconds())

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

    def _grant_of(self, digest: bytes) -> Grant | None:
        return self.lookup(digest)  # of the routes as they are then

    def wrong_token(self, peer: str, head: RequestHead) -> int | None:
        forwarded = [value for name, value, _ in head.fields if name == b"x-forwarded-for"]
        address = client_address(peer, forwarded, self.config.gateway.trusted_proxies)
        self.wrong_tokens += 1
        wait = self._wrong_tokens.count(address, self.seconds())
        if wait is None:
            self._commons.wrong_token(address)
        return wait

    def pool(self, tenant: str) -> Pool:
        pool = self._pools.get(tenant)
        if pool is None:
            pool = self._pools[tenant] = self._new_pool(self._tenants[tenant])
        return pool

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
        self._clients.discard(client)
        self._connections.leave(client.peer)
        self._check_gone()

    def failed(self, tenant: str, request_id: bytes, failure: Failure) -> None:
        dropped = self._lines.spend(self.seconds())
        if dropped is None:
            return
        if dropped:
            log.warn("{dropped} lines on failed requests were dropped", dropped=dropped)
        log.warn(
            "tenant {tenant}: request {request_id} answered {status} {code}: {reason}",
            tenant=tenant,
            request_id=request_id.decode("ascii"),
            status=failure.status,
            code=failure.code,
            reason=failure.reason,
        )
