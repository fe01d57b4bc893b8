"""The gateway as several processes: one service that owns them, in the supervisor's process.

The listening sockets are bound here and inherited by every worker, so that a worker that dies
takes no connection with it that it had not accepted. What the workers must agree on is decided
here: who has which slots (`division`), which routes there are, who is ready. Their lives are those
of a `crew`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from sqsuper.config.diff import listeners
from sqsuper.config.model import Config, Tenant
from sqsuper.gateway.board import MAX_RATES, Board
from sqsuper.gateway.channel import Handler
from sqsuper.gateway.crew import PING_INTERVAL, Crew
from sqsuper.gateway.division import Division
from sqsuper.gateway.doors import Door, Doors, Moving
from sqsuper.gateway.endings import WITHOUT_ANSWER
from sqsuper.gateway.errands import Errands
from sqsuper.gateway.messages import encode_gateway, encode_tenant, encode_upstream, pages
from sqsuper.gateway.orphaned import orphaned
from sqsuper.gateway.quorum import Quorum
from sqsuper.gateway.shared_ports import SharedPort, SharedPorts, worker_endpoints
from sqsuper.gateway.shares import Order
from sqsuper.gateway.statistics import Statistics, Totals
from sqsuper.gateway.tallies import Tallies
from sqsuper.gateway.tls_listening import check_certificate
from sqsuper.gateway.wire import Wire, WireUser
from sqsuper.gateway.worker_process import WorkerProcess
from sqsuper.instances import Full, Upstream, WatchedInstances
from sqsuper.slices import Slices

# Tenants in one message while requests are served.
SMALL_PAGE = 50
# Beyond the longest drain, before what is left of the workers is killed: a part of the shortest
# `stop_grace`, of which the instances need the rest, and no more than this.
STOP_GRACE = 5.0
# For what all workers go over to; one that hangs must not hold up all changes.
GO_OVER_PATIENCE = 2.0


@attrs.frozen(eq=False)
class PreparedWorkers:
    """What `WorkersService.prepare` made: to be committed, or withdrawn."""

    config: Config
    changed: Sequence[Tenant]
    gone: Sequence[str]
    moving: Moving
    new: Sequence[SharedPort]
    encoded: Sequence[list[Any]]


class WorkersService(Service):
    """Serves every tenant behind the endpoints of `gateway.listen`, by `gateway.workers`.

    `startService` returns a Deferred that fires when every endpoint is bound and every worker
    serves, and fails with the reactor's own error, or `WorkerError`. A worker that ends later
    is replaced. `stopService` returns one that fires when no worker is left: requests under way
    are given the longest `drain` of the tenants.
    """

    def __init__(
        self,
        config: Config,
        instances: WatchedInstances,
        reactor: Any,
        nested: bool | None = None,
        ping_interval: float = PING_INTERVAL,
    ) -> None:
        self._config = config
        self._instances = instances
        self._reactor = reactor
        self._nested = nested
        self._count = config.gateway.workers
        self._tenants = {tenant.name: tenant for tenant in config.tenants}
        self._version = 1
        self._ports = SharedPorts(reactor)
        self._doors = Doors(self._ports, _nobody)
        self._board: Board | None = None
        self._tallies = Tallies(self._tenants)
        self._crew = Crew(self._count, self, reactor, self._tallies.lag, ping_interval)
        self._errands = Errands(instances, self._tenants, self._tallies, self._tell)
        self._quorum = Quorum()
        self._division = Division(self._tenants, self._count, self._say_order, self, reactor)
        self._last_ports: dict[str, int] = {}
        self._rates: dict[str, int] = {}
        self._full: dict[str, Full] = {}
        self._watched = False

    # Service

    def startService(self) -> Deferred[None]:
        super().startService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        await self._doors.open(self._config.gateway.listen)
        self._board = Board.create(self._config.run_dir, self._count)
        if not self._watched:
            self._watched = True
            self._instances.watch(self._ready_changed)
        self._number_rates(self._tenants.values())
        await self._crew.start()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        settings = [tenant.settings for tenant in self._tenants.values()]
        drain = max((one.drain for one in settings), default=0.0)
        grace = min((one.stop_grace for one in settings), default=STOP_GRACE) / 2
        patience = drain + min(STOP_GRACE, grace)
        deaf, gone = self._crew.stop(patience)
        # An instance that is ended in a write may lose data: also in one that nobody waits for.
        enough = self._reactor.callLater(patience, self._division.close)
        await deaf
        await self._doors.close()
        await gone
        await self._division.quiet()
        self._division.close()
        _cancel(enough)
        if self._board is not None:
            self._board.close()
            self._board = None

    def addresses(self) -> Sequence[Any]:
        """Return what the listeners are bound to, in the order of binding."""
        return self._doors.addresses()

    def pids(self) -> list[int]:
        """Return the pids of the workers that serve."""
        serving = [process for process in self._crew if process.serving]
        return [process.pid for process in serving if process.pid is not None]

    # What may be asked of a gateway

    async def prepare(
        self, config: Config, changed: Sequence[Tenant], gone: Sequence[str], slices: Slices
    ) -> PreparedWorkers:
        """See `GatewayService.prepare`; `gateway.workers` is looked at only at the start."""
        # Certificates are read by the workers; here it is only seen that they can be.
        for endpoint in listeners(self._config.gateway.listen, config.gateway.listen)[0]:
            check_certificate(endpoint)
        before = list(self._ports.ports)
        moving = await self._doors.prepare(config.gateway.listen)
        new = [shared for shared in self._ports.ports if shared not in before]
        encoded = await slices.run(_encoded(changed))
        return PreparedWorkers(config, changed, gone, moving, new, encoded)

    async def commit(self, prepared: PreparedWorkers) -> None:
        """See `GatewayService.commit`. Done when every worker has gone over."""
        gateway = prepared.config.gateway
        listen = tuple(worker_endpoints(gateway.listen))
        told = None
        if gateway != self._config.gateway:
            told = encode_gateway(attrs.evolve(gateway, listen=listen))
        self._config = prepared.config
        self._take(prepared.changed, prepared.gone)
        places = [list(attrs.astuple(shared.place)) for shared in prepared.new]
        for process in self._crew:
            for shared in prepared.new:
                process.hand(shared.fileno())
            for page in prepared.encoded:
                process.say("changing", page)
            self._say_change(process, prepared.changed, prepared.gone, told, places)
        await prepared.moving.commit()
        await self._gone_over()

    async def _gone_over(self) -> None:
        """Wait until every worker has gone over, but for one that hangs not for long."""
        over: Deferred[None] = Deferred()

        def once(_: object = None) -> None:
            if not over.called:
                over.callback(None)

        # Of nobody, which a worker answers as soon as nothing is left to go over to.
        self.quiet("").addCallback(once)
        patience = self._reactor.callLater(GO_OVER_PATIENCE, once)
        await over
        _cancel(patience)

    async def withdraw(self, prepared: PreparedWorkers) -> None:
        """See `GatewayService.withdraw`."""
        await prepared.moving.withdraw()

    def change(self, changed: Iterable[Tenant], gone: Iterable[str]) -> None:
        """Go on with other settings and tokens of some tenants, and without those `gone`."""
        changed, gone = list(changed), list(gone)
        self._take(changed, gone)
        page = [encode_tenant(tenant) for tenant in changed]
        for process in self._crew:
            process.say("changing", page)
            self._say_change(process, changed, gone)

    def _take(self, changed: Iterable[Tenant], gone: Iterable[str]) -> None:
        for name in gone:
            self._tenants.pop(name, None)
            self._full.pop(name, None)
            self._last_ports.pop(name, None)
            self._tallies.forget(name)
        for tenant in changed:
            self._tenants[tenant.name] = tenant
            self._division.resize(tenant)
        self._number_rates(changed)
        self._version += 1

    def _say_change(
        self,
        process: WorkerProcess,
        changed: Iterable[Tenant],
        gone: Sequence[str],
        gateway: dict[str, Any] | None = None,
        places: Sequence[Any] = (),
    ) -> None:
        """Have a worker go over to what it was told is changing."""
        rates = {t.name: self._rates[t.name] for t in changed if t.name in self._rates}
        process.say("change", self._version, list(gone), rates, gateway, list(places))

    def filled(self, tenant: str, full: Full | None) -> None:
        """See `GatewayService.filled`."""
        if full is None:
            self._full.pop(tenant, None)
        else:
            self._full[tenant] = full
        self._crew.say("full", tenant, None if full is None else attrs.astuple(full))

    def inflight(self, tenant: str) -> int:
        """Return how many requests have a slot, as of the workers' last answers to a ping."""
        told = sum(process.inflight.get(tenant, 0) for process in self._crew)
        return told + self._division.at_work(tenant)

    def statistics(self, tenant: str) -> Statistics:
        """See `GatewayService.statistics`; as of the workers' last answers to a ping."""
        return self._tallies.of(tenant, self.inflight(tenant))

    def totals(self) -> Totals:
        """See `GatewayService.totals`; as of the workers' last answers to a ping."""
        in_flight = sum(sum(process.inflight.values()) for process in self._crew)
        return self._tallies.totals(in_flight)

    @property
    def wrong_tokens(self) -> int:
        """How many requests came with an unknown token, as of the workers' last answers."""
        return self._tallies.wrong_tokens

    def token_used(self, digest: bytes) -> float | None:
        """See `GatewayService.token_used`; as of the workers' last answers to a ping."""
        return self._tallies.token_used(digest)

    def quiet(self, tenant: str) -> Deferred[None]:
        """Return a Deferred that fires when no request has a slot of the tenant's instance.

        None of a worker that has ended either.
        """
        serving = [process for process in self._crew if process.serving]
        number, done = self._quorum.ask(process.number for process in serving)
        for process in serving:
            process.say("quiet", number, tenant)
        return done.addCallback(lambda _: self._division.quiet(tenant))

    def reopen_logs(self) -> None:
        """Let every worker open its logs anew."""
        self._crew.say("reopen")

    # crew.Owner

    def begin(self, worker: WorkerProcess) -> None:
        """See `crew.Owner`."""
        assert self._board is not None
        self._board.clear(worker.number)
        worker.spawn(self._count, self._board.fd, [port.fileno() for port in self._ports.ports])
        gateway = attrs.evolve(
            self._config.gateway, listen=tuple(worker_endpoints(self._config.gateway.listen))
        )
        places = [list(attrs.astuple(shared.place)) for shared in self._ports.ports]
        run_dir = str(self._config.run_dir)
        worker.say("begin", encode_gateway(gateway), run_dir, places, self._nested)
        for page in pages(self._tenants.values()):
            worker.say("tenants", page)
        for name in self._tenants:
            upstream = self._instances.ready(name)
            if upstream is not None:
                self._last_ports[name] = upstream.port
                worker.say("ready", name, encode_upstream(upstream))
        for name, full in self._full.items():
            worker.say("full", name, attrs.astuple(full))
        worker.say("serve", self._version, self._rates)

    def handlers(self, worker: WorkerProcess) -> Mapping[str, Handler]:
        """See `crew.Owner`."""
        number, errands, tallies = worker.number, self._errands, self._tallies
        return {
            "tokens": partial(tallies.tokens, number),
            "counts": tallies.counted,
            "gateway": partial(tallies.gateway, number),
            "wait": partial(errands.wait, number),
            "unwait": partial(errands.unwait, number),
            "refused": errands.refused,
            "used": errands.used,
            "slots": lambda tenant, serial, cap, demand, waiting: self._division.report(
                number, tenant, serial, cap=cap, demand=demand, waiting=waiting
            ),
            "wrong": lambda addresses: self._others(number, "wrong", addresses),
            "is_quiet": partial(self._quorum.answered, number),
        }

    def gone(self, number: int) -> None:
        """See `crew.Owner`."""
        self._tallies.ended(number)
        self._errands.gone(number)
        if self._board is not None:
            self._board.clear(number)
        self._division.gone(number)
        self._quorum.gone(number)

    # division.Remaining

    def port(self, tenant: str) -> int | None:
        """See `division.Remaining`."""
        return self._last_ports.get(tenant)

    def orphaned(self) -> Mapping[int, AbstractSet[int]] | None:
        """See `division.Remaining`."""
        return orphaned()

    def patience(self) -> float:
        """See `division.Remaining`: as long as if the worker had waited for the answer."""
        return self._config.gateway.upstream_timeout + WITHOUT_ANSWER

    # What workers are told

    def _ready_changed(self, tenant: str, upstream: Upstream | None) -> None:
        value = None
        if upstream is not None:
            value = encode_upstream(upstream)
            self._last_ports[tenant] = upstream.port
        self._crew.say("ready", tenant, value)

    def _others(self, worker: int, kind: str, *facts: Any) -> None:
        for process in self._crew:
            if process.number != worker:
                process.say(kind, *facts)

    def _tell(self, worker: int, kind: str, *facts: Any) -> None:
        process = self._crew.get(worker)
        if process is not None:
            process.say(kind, *facts)

    def _say_order(self, tenant: str, order: Order) -> None:
        facts = (order.serial, order.slots, order.queue, order.contended)
        self._tell(order.worker, "order", tenant, *facts)

    def _number_rates(self, tenants: Iterable[Tenant]) -> None:
        """Give each tenant with a rate its bucket on the board, for good."""
        for tenant in tenants:
            room = len(self._rates) < MAX_RATES
            if tenant.settings.rate is not None and tenant.name not in self._rates and room:
                self._rates[tenant.name] = len(self._rates)


def _nobody(_wire: Wire, _peer: str, _door: Door) -> WireUser:
    raise RuntimeError("nothing is accepted in the supervisor's process")


def _encoded(tenants: Sequence[Tenant]) -> Generator[None, None, list[list[Any]]]:
    found = []
    for page in pages(tenants, SMALL_PAGE):
        found.append(page)
        yield
    return found


def _cancel(call: Any) -> None:
    if call is not None and call.active():
        call.cancel()
