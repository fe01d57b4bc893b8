"""The gateway as several processes: one service that owns them, in the supervisor's process.

The listening sockets are bound here and inherited by every worker, so that a worker that dies
takes no connection with it that it had not accepted. What the workers must agree on is decided
here: who has which slots (`shares`), which routes there are, who is ready.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from sqsuper.config.diff import listeners
from sqsuper.config.model import Config, Tenant
from sqsuper.gateway.board import MAX_RATES, Board
from sqsuper.gateway.channel import Handler
from sqsuper.gateway.division import Division
from sqsuper.gateway.doors import Door, Doors, Moving
from sqsuper.gateway.messages import (
    encode_gateway,
    encode_outcome,
    encode_tenant,
    encode_upstream,
    pages,
)
from sqsuper.gateway.respawn import Respawn
from sqsuper.gateway.shared_ports import SharedPort, SharedPorts, worker_endpoints
from sqsuper.gateway.shares import Order
from sqsuper.gateway.statistics import Statistics, Totals
from sqsuper.gateway.tallies import Tallies
from sqsuper.gateway.tls_listening import check_certificate
from sqsuper.gateway.wire import Wire, WireUser
from sqsuper.gateway.worker_process import WorkerProcess
from sqsuper.instances import Full, Unavailable, Upstream, Wait, WatchedInstances
from sqsuper.slices import Slices

# Tenants in one message while requests are served.
SMALL_PAGE = 50
# Of a worker from its spawn to the word that it serves.
START_PATIENCE = 30.0
# Beyond the longest drain, before what is left of the workers is killed.
STOP_GRACE = 5.0
# The listening sockets are closed here when every worker has, or after this.
DEAF_PATIENCE = 1.0
# For what all workers go over to; one that hangs must not hold up all changes.
GO_OVER_PATIENCE = 2.0
# A worker that does not answer so many times in a row hangs: it is killed, and replaced.
PING_INTERVAL = 2.0
MISSED_PINGS = 5

log = Logger()


class WorkerError(Exception):
    """A worker did not come to serve: the start ends. The text is one line for people."""


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
        self._processes: dict[int, WorkerProcess] = {}
        self._respawns = {number: Respawn() for number in range(self._count)}
        self._respawn_calls: dict[int, Any] = {}
        self._waits: dict[int, dict[int, Wait]] = {n: {} for n in range(self._count)}
        self._division = Division(self._tenants, self._count, self._say_order, reactor.callLater)
        self._rates: dict[str, int] = {}
        self._full: dict[str, Full] = {}
        self._ping_interval = ping_interval
        self._ping_call: Any = None
        self._patience: dict[int, Any] = {}
        self._quiet_numbers = itertools.count(1)
        self._quiet: dict[int, tuple[set[int], Deferred[None]]] = {}
        self._up: Deferred[None] | None = None
        self._all_deaf: Deferred[None] | None = None
        self._all_gone: Deferred[None] | None = None
        self._stopping = False
        self._watched = False
        self._tokens_used: dict[str, float] = {}
        self._wrong_tokens: dict[int, int] = {}
        self._tallies = Tallies(self._tenants)
        self._pinged_at: float | None = None

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
        up: Deferred[None] = Deferred()
        self._up = up
        for number in range(self._count):
            self._spawn(number)
        self._ping_call = self._reactor.callLater(self._ping_interval, self._ping)
        await up

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        self._up = None
        for call in self._respawn_calls.values():
            _cancel(call)
        self._respawn_calls.clear()
        if self._processes:
            self._all_deaf, self._all_gone = Deferred(), Deferred()
            for process in self._processes.values():
                process.say("stop")
            drain = max((t.settings.drain for t in self._tenants.values()), default=0.0)
            kill = self._reactor.callLater(drain + STOP_GRACE, self._kill_all)
            patience = self._reactor.callLater(DEAF_PATIENCE, self._check_deaf, True)
            all_gone = self._all_gone
            self._check_deaf()
            await self._all_deaf
            _cancel(patience)
            await self._doors.close()
            await all_gone
            _cancel(kill)
        await self._doors.close()
        self._division.close()
        _cancel(self._ping_call)
        if self._board is not None:
            self._board.close()
            self._board = None

    def _kill_all(self) -> None:
        for process in self._processes.values():
            process.kill()

    def _check_deaf(self, anyhow: bool = False) -> None:
        deaf = self._all_deaf
        if deaf is None or deaf.called:
            return
        if anyhow or all(process.deaf for process in self._processes.values()):
            deaf.callback(None)

    def addresses(self) -> Sequence[Any]:
        """Return what the listeners are bound to, in the order of binding."""
        return self._doors.addresses()

    def pids(self) -> list[int]:
        """Return the pids of the workers that serve."""
        serving = [process for process in self._processes.values() if process.serving]
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
        for process in self._processes.values():
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
        for process in self._processes.values():
            process.say("changing", [encode_tenant(tenant) for tenant in changed])
            self._say_change(process, changed, gone)

    def _take(self, changed: Iterable[Tenant], gone: Iterable[str]) -> None:
        for name in gone:
            self._tenants.pop(name, None)
            self._full.pop(name, None)
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
        for process in self._processes.values():
            process.say("full", tenant, None if full is None else attrs.astuple(full))

    def inflight(self, tenant: str) -> int:
        """Return how many requests have a slot, as of the workers' last answers to a ping."""
        return sum(process.inflight.get(tenant, 0) for process in self._processes.values())

    def statistics(self, tenant: str) -> Statistics:
        """See `GatewayService.statistics`; as of the workers' last answers to a ping."""
        return self._tallies.of(tenant, self.inflight(tenant))

    def totals(self) -> Totals:
        """See `GatewayService.totals`; as of the workers' last answers to a ping."""
        in_flight = sum(sum(process.inflight.values()) for process in self._processes.values())
        return self._tallies.totals(in_flight)

    @property
    def wrong_tokens(self) -> int:
        """How many requests came with an unknown token, as of the workers' last answers."""
        return sum(self._wrong_tokens.values())

    def token_used(self, digest: bytes) -> float | None:
        """See `GatewayService.token_used`; as of the workers' last answers to a ping."""
        return self._tokens_used.get(digest.hex())

    def _take_tokens(self, number: int, used: dict[str, float], wrong: int) -> None:
        for digest, at in used.items():
            if at > self._tokens_used.get(digest, 0.0):
                self._tokens_used[digest] = at
        self._wrong_tokens[number] = wrong

    def quiet(self, tenant: str) -> Deferred[None]:
        """Return a Deferred that fires when no request has a slot of the tenant's instance."""
        done: Deferred[None] = Deferred()
        asked = {number for number, process in self._processes.items() if process.serving}
        if not asked:
            done.callback(None)
            return done
        number = next(self._quiet_numbers)
        self._quiet[number] = (asked, done)
        for worker in list(asked):
            self._processes[worker].say("quiet", number, tenant)
        return done

    def reopen_logs(self) -> None:
        """Let every worker open its logs anew."""
        for process in self._processes.values():
            process.say("reopen")

    # Workers' lives

    def _spawn(self, number: int) -> None:
        self._respawn_calls.pop(number, None)
        assert self._board is not None
        self._board.clear(number)
        process = WorkerProcess(number, self, self._reactor)
        self._processes[number] = process
        try:
            process.spawn(self._count, self._board.fd, [p.fileno() for p in self._ports.ports])
        except OSError as error:
            self._gone(process, f"cannot be started: {error.strerror}")
            return
        gateway = attrs.evolve(
            self._config.gateway, listen=tuple(worker_endpoints(self._config.gateway.listen))
        )
        places = [list(attrs.astuple(shared.place)) for shared in self._ports.ports]
        run_dir = str(self._config.run_dir)
        process.say("begin", encode_gateway(gateway), run_dir, places, self._nested)
        for page in pages(self._tenants.values()):
            process.say("tenants", page)
        for name in self._tenants:
            upstream = self._instances.ready(name)
            if upstream is not None:
                process.say("ready", name, encode_upstream(upstream))
        for name, full in self._full.items():
            process.say("full", name, attrs.astuple(full))
        process.say("serve", self._version, self._rates)
        self._patience[number] = self._reactor.callLater(START_PATIENCE, process.kill)

    def handlers(self, worker: WorkerProcess) -> Mapping[str, Handler]:
        """See `worker_process.Owner`."""
        number = worker.number
        return {
            "serving": lambda: self._serves(worker),
            "failed": lambda line: self._cannot_serve(worker, line),
            "deaf": lambda: self._is_deaf(worker),
            "pong": worker.answered,
            "tokens": lambda used, wrong: self._take_tokens(number, used, wrong),
            "counts": self._tallies.counted,
            "gateway": lambda *facts: self._tallies.gateway(number, *facts),
            "wait": lambda wait, tenant: self._wait(number, wait, tenant),
            "unwait": lambda wait: self._unwait(number, wait),
            "refused": lambda tenant, epoch: self._tell(self._instances.refused, tenant, epoch),
            "used": self._used,
            "slots": lambda tenant, serial, cap, demand, waiting: self._division.report(
                number, tenant, serial, cap=cap, demand=demand, waiting=waiting
            ),
            "wrong": lambda addresses: self._others(number, "wrong", addresses),
            "is_quiet": lambda asked: self._is_quiet(number, asked),
        }

    def _serves(self, worker: WorkerProcess) -> None:
        worker.serving = True
        _cancel(self._patience.pop(worker.number, None))
        log.info("worker {number} serves (pid {pid})", number=worker.number, pid=worker.pid)
        up = self._up
        if up is not None and all(process.serving for process in self._processes.values()):
            self._up = None
            up.callback(None)

    def _cannot_serve(self, worker: WorkerProcess, line: str) -> None:
        self._not_up(line)
        worker.kill()

    def _not_up(self, line: str) -> None:
        up, self._up = self._up, None
        if up is not None:
            up.errback(WorkerError(line))

    def _ping(self) -> None:
        self._ping_call = self._reactor.callLater(self._ping_interval, self._ping)
        now = self._reactor.seconds()
        if self._pinged_at is not None:
            self._tallies.lag.late(now - self._pinged_at - self._ping_interval, now)
        self._pinged_at = now
        for worker in self._processes.values():
            if worker.serving and worker.missed >= MISSED_PINGS:
                log.error("worker {number} does not answer; it is killed", number=worker.number)
                worker.kill()
            elif worker.serving:
                worker.missed += 1
                worker.say("ping")

    def _is_deaf(self, worker: WorkerProcess) -> None:
        worker.deaf = True
        self._check_deaf()

    def ended(self, worker: WorkerProcess, how: str) -> None:
        """See `worker_process.Owner`."""
        if self._processes.get(worker.number) is worker:
            self._gone(worker, how)

    def _gone(self, worker: WorkerProcess, how: str) -> None:
        number = worker.number
        del self._processes[number]
        self._tallies.ended(number)
        _cancel(self._patience.pop(number, None))
        for wait in self._waits[number].values():
            wait.cancel()
        self._waits[number].clear()
        if self._board is not None:
            self._board.clear(number)
        self._division.gone(number)
        for asked in list(self._quiet):
            self._is_quiet(number, asked)
        if self._stopping:
            self._check_deaf()
            if not self._processes and self._all_gone is not None:
                self._all_gone.callback(None)
            return
        if self._up is not None:
            self._not_up(f"worker {number} of the gateway ended before it served: {how}")
            return
        delay = self._respawns[number].delay(self._reactor.seconds() - worker.begun)
        log.warn(
            "worker {number} has ended ({how}); it is replaced in {delay:g} s",
            number=number,
            how=how,
            delay=delay,
        )
        if self.running:
            self._respawn_calls[number] = self._reactor.callLater(delay, self._spawn, number)

    # What workers ask and tell

    def _wait(self, worker: int, number: int, tenant: str) -> None:
        waits = self._waits[worker]
        process = self._processes[worker]
        over = False

        def outcome(result: Upstream | Unavailable) -> None:
            nonlocal over
            over = True
            waits.pop(number, None)
            if isinstance(result, Upstream):
                self._tallies.waited(tenant, result.epoch)
            process.say("settled", number, encode_outcome(result))

        if tenant not in self._tenants:
            outcome(Unavailable("disabled", "the tenant is gone", 60))
            return
        wait = self._instances.wait(tenant, outcome)
        if not over:
            waits[number] = wait

    def _unwait(self, worker: int, number: int) -> None:
        wait = self._waits[worker].pop(number, None)
        if wait is not None:
            wait.cancel()

    def _used(self, tenant: str, epoch: int) -> None:
        if tenant in self._tenants:
            self._tallies.used(tenant, epoch)
        self._tell(self._instances.used, tenant, epoch)

    def _tell(self, call: Callable[[Upstream], None], tenant: str, epoch: int) -> None:
        if tenant in self._tenants:
            call(Upstream(tenant, epoch, ""))

    def _ready_changed(self, tenant: str, upstream: Upstream | None) -> None:
        value = None if upstream is None else encode_upstream(upstream)
        for process in self._processes.values():
            process.say("ready", tenant, value)

    def _others(self, worker: int, kind: str, *facts: Any) -> None:
        for number, process in self._processes.items():
            if number != worker:
                process.say(kind, *facts)

    def _is_quiet(self, worker: int, number: int) -> None:
        found = self._quiet.get(number)
        if found is not None:
            asked, done = found
            asked.discard(worker)
            if not asked:
                del self._quiet[number]
                done.callback(None)

    def _say_order(self, tenant: str, order: Order) -> None:
        process = self._processes.get(order.worker)
        if process is not None:
            process.say("order", tenant, order.serial, order.slots, order.queue, order.contended)

    def _number_rates(self, tenants: Iterable[Tenant]) -> None:
        """Give each tenant with a rate its bucket on the board, for good."""
        for tenant in tenants:
            room = len(self._rates) < MAX_RATES
            if tenant.settings.rate is not None and tenant.name not in self._rates and room:
                self._rates[tenant.name] = len(self._rates)


def _nobody(_wire: Wire, _address: IAddress | None, _door: Door) -> WireUser:
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
