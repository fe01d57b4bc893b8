"""The gateway as a service: listeners, shared state, one sweep for all deadlines."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from sqsuper.config.model import Config, Tenant
from sqsuper.gateway.accesslog import AccessLog
from sqsuper.gateway.client import ClientConnection
from sqsuper.gateway.commons import Commons, Own
from sqsuper.gateway.failure import Failure
from sqsuper.gateway.limits import (
    Limits,
    LineBudget,
    WrongTokens,
    client_address,
)
from sqsuper.gateway.listening import Listening, Wires, wires_for
from sqsuper.gateway.memo import KnownAnswers, KnownRequests
from sqsuper.gateway.rate import Bucket
from sqsuper.gateway.routes import Routes
from sqsuper.gateway.spool import Spool
from sqsuper.gateway.upstream import Pool
from sqsuper.gateway.wire import Wire, WireUser
from sqsuper.http1 import answers
from sqsuper.http1.credentials import Grant
from sqsuper.http1.head import RequestHead
from sqsuper.instances import Instances

SWEEP_INTERVAL = 0.25

log = Logger()


class GatewayService(Service):
    """Serves every tenant behind the endpoints of `gateway.listen`.

    `nested`: whether connections are our own sockets in a nested loop, or else Twisted's
    transports (None: nested where that is possible). `commons`: what is counted together with
    other gateways (None: there are none).
    `startService` returns a Deferred that fires when every endpoint is bound, and fails with
    the reactor's own error when one cannot be. `stopService` returns one that fires when no
    connection is left: requests under way are given the longest `drain` of the tenants.
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
        self._listeners: list[Listening] = []
        self._sweeper: Any = None
        self._stopping = False
        self._all_gone: Deferred[None] | None = None
        gateway = config.gateway
        self.timing = Limits(
            max_head_bytes=gateway.max_head_bytes,
            max_body_bytes=gateway.max_body_bytes,
            head_timeout=gateway.head_timeout,
            idle_timeout=gateway.idle_timeout,
            body_timeout=_or(gateway.body_timeout, gateway.idle_timeout),
            body_rate=gateway.body_rate,
            send_timeout=_or(gateway.send_timeout, gateway.idle_timeout),
            upstream_timeout=gateway.upstream_timeout,
        )
        self._routes = Routes.of(config.tenants)
        self.lookup = self._routes.lookup
        self.known_requests = KnownRequests()
        self._known_answers = KnownAnswers()
        self.access = AccessLog.of(gateway, self._grant_of, now)
        self.rates: dict[str, Bucket] = {}
        for tenant in config.tenants:
            self._take_rate(tenant)
        self._wrong_tokens = WrongTokens(gateway.wrong_tokens_per_minute)
        self._connections = self._commons.connections(gateway)
        self._lines = LineBudget()
        self._spool_room = self._commons.spool_room(config.run_dir)
        self._id_prefix = secrets.token_hex(6).encode("ascii")
        self._ids = itertools.count(1)

    # Service

    def startService(self) -> Deferred[None]:
        super().startService()  # type: ignore[no-untyped-call]
        self._wires = wires = wires_for(self._reactor, self._nested)
        self._sweeper = self._reactor.callLater(SWEEP_INTERVAL, self._sweep)
        return Deferred.fromCoroutine(self._listen(wires))

    async def _listen(self, wires: Wires) -> None:
        if self.access is not None:
            self.access.open()
        for endpoint in self.config.gateway.listen:
            self._listeners.append(await wires.listen(endpoint, self._accept))

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def stop_listening(self) -> None:
        """Take no more connections. Idempotent."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            try:
                await listener.close()
            except Exception:
                # Such as a Unix socket's file that is gone: no reason not to stop.
                log.failure("a listener was not closed cleanly")

    async def _stop(self) -> None:
        self._stopping = True
        await self.stop_listening()
        for client in list(self._clients):
            client.close_if_idle()
        if self._clients:
            drain = max((t.settings.drain for t in self._tenants.values()), default=0.0)
            cut = self._reactor.callLater(drain, self._cut_all)
            self._all_gone = Deferred()
            await self._all_gone
            if cut.active():
                cut.cancel()
        if self._sweeper is not None and self._sweeper.active():
            self._sweeper.cancel()
        for pool in self._pools.values():
            pool.close()
        if self.access is not None:
            self.access.close()
        if self._wires is not None:
            self._wires.close()

    def _cut_all(self) -> None:
        for client in list(self._clients):
            client.abort()

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
        return [listener.address() for listener in self._listeners]

    def _sweep(self) -> None:
        self._sweeper = self._reactor.callLater(SWEEP_INTERVAL, self._sweep)
        now = self.seconds()
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

    def _accept(self, wire: Wire, address: IAddress | None) -> WireUser:
        peer = getattr(address, "host", "") or ""
        if self._stopping or not self._connections.enter(peer):
            return self._turn_away(wire, peer)
        client = ClientConnection(self, wire, peer)
        self._clients.add(client)
        return client

    def _turn_away(self, wire: Wire, peer: str) -> WireUser:
        reason = "the gateway is stopping" if self._stopping else "too many connections"
        code = "stopping" if self._stopping else "overloaded"
        answer = answers.error(503, code, reason, fields=(b"Retry-After: 1\r\n",))
        wire.send(answer)
        if self.access is not None:
            self.access.refused(peer, b"", b"", answer, seconds=0.0)
        wire.close()
        return _TurnedAway()

    # What may be asked of a gateway

    def change(self, changed: Iterable[Tenant], gone: Iterable[str]) -> None:
        """Go on with other settings and tokens of some tenants, and without those `gone`.

        A token that admits no more ends the open exchanges that it began; nothing else is
        touched.
        """
        changed, gone = list(changed), list(gone)
        for name in gone:
            if self._tenants.pop(name, None) is not None:
                self.rates.pop(name, None)
        for tenant in changed:
            before = self._tenants.get(tenant.name)
            self._tenants[tenant.name] = tenant
            if before is None or before.settings.rate != tenant.settings.rate:
                self._take_rate(tenant)
            pool = self._pools.get(tenant.name)
            if pool is not None:
                pool.adjust(tenant.settings)
        revoked = self._routes.change(changed, gone)
        self.known_requests.clear()
        if revoked:
            for client in list(self._clients):
                client.end_if_revoked(revoked)

    def quiet(self, tenant: str) -> Deferred[None]:
        """Return a Deferred that fires when no request has a slot of the tenant's instance."""
        done: Deferred[None] = Deferred()
        pool = self._pools.get(tenant)
        if pool is None:
            done.callback(None)
        else:
            pool.when_quiet(lambda: done.callback(None))
        return done

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
            slots=self._commons.slots(tenant),
            known_answers=self._known_answers,
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


class _TurnedAway:
    """The user of a connection that is closed as soon as its answer has left."""

    def received(self, data: bytes) -> None:
        pass

    def drained(self) -> None:
        pass

    def ended(self) -> None:
        pass

    def lost(self) -> None:
        pass


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
