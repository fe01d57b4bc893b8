"""The supervisor as a service: all tenants' instances, one run directory."""

from __future__ import annotations

import itertools
import os
import random as random_module
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from sqsuper.config.diff import Plan
from sqsuper.config.model import Config, Tenant
from sqsuper.instances import Unavailable, Upstream, Wait
from sqsuper.supervisor import groups, plan
from sqsuper.supervisor.best_launcher import best_launcher
from sqsuper.supervisor.changes import Changes
from sqsuper.supervisor.errors import SupervisorError
from sqsuper.supervisor.events import Events
from sqsuper.supervisor.fleet import Circumstances, Fleet
from sqsuper.supervisor.health import HealthWatch
from sqsuper.supervisor.hooks import Hooks
from sqsuper.supervisor.hostmemory import MemoryReader
from sqsuper.supervisor.idle import Idle
from sqsuper.supervisor.instance import Change, State
from sqsuper.supervisor.launchers import Launcher
from sqsuper.supervisor.lifecycle import Lifecycle
from sqsuper.supervisor.monitor import Monitor
from sqsuper.supervisor.own_limits import confine_process
from sqsuper.supervisor.premises import Premises
from sqsuper.supervisor.process import Surroundings
from sqsuper.supervisor.records import Records
from sqsuper.supervisor.remains import Remains
from sqsuper.supervisor.rolling import Rolled, roll
from sqsuper.supervisor.starts import StartQueue
from sqsuper.supervisor.storage import Storage
from sqsuper.supervisor.summary import summary
from sqsuper.supervisor.tenant_logs import TenantLogs
from sqsuper.supervisor.warden import Warden
from sqsuper.supervisor.watching import Watching
from sqsuper.supervisor.why import Why, explain


class Supervisor(Service):
    """Owns the tenants' processes; implements `sqsuper.instances.WatchedInstances`.

    Starting raises `SupervisorError` (one line for the operator) when it cannot run at all;
    a tenant that cannot be served only fails itself. `stopService` fires when every process
    is reaped, every socket unlinked and every record removed.
    """

    _log = Logger()

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        random: Callable[[], float] = random_module.random,
        launcher: Launcher | None = None,
        engine_paths: tuple[str, ...] | None = None,
    ) -> None:
        """`engine_paths`: where the embedded engine is imported from, by default our own."""
        self._config = config
        self._stop: Deferred[None] | None = None
        self._stop_began: float | None = None
        records = Records(config.run_dir)
        self._premises = Premises(records)
        paths = plan.engine_paths() if engine_paths is None else engine_paths
        if launcher is None:
            launcher = best_launcher(reactor, paths=paths, run_dir=config.run_dir, random=random)
        self._launcher: Launcher = launcher
        self._warden = Warden(reactor)
        self.logs = TenantLogs(config.log, reactor=reactor)
        """The children's lines: files, and the last ones."""
        self._fleet = Fleet(
            config=config,
            around=Surroundings(
                reactor=reactor,
                launcher=launcher,
                records=records,
                remains=Remains(reactor),
                boot=groups.boot_id(),
                output=self.logs,
                warden=self._warden,
            ),
            starts=StartQueue(_concurrency(config)),
            start_next=self._start_next,
            epochs=itertools.count(1),
            random=random,
            engine_paths=paths,
            data_dirs=plan.data_dirs(config),
            ports={tenant.port for tenant in config.tenants if tenant.port is not None},
            refusal=self._refusal,
            release=lambda name: self._lives[name].try_again(),
            circumstances=self._circumstances,
        )
        self._indexes = itertools.count()
        self._lives = {tenant.name: self._new_life(tenant) for tenant in config.tenants}
        self._changes = Changes(self._fleet, self._lives, self._new_life)
        self._watching = Watching(reactor, self._fleet.events)
        self.idle = Idle(
            config.host_memory,
            reactor=reactor,
            quiet=self._quiet,
            ask=self._ask_about_port,
            read=MemoryReader().read,
        )
        self.health.listeners.append(self.idle.pong)
        self.hooks = Hooks(config.on_event, config.file.parent, reactor=reactor)
        self._fleet.events.watch(self.hooks.take)
        self.storage = Storage(reactor)
        """What the data of command engines takes."""
        self.storage.listeners.append(self.monitor.stored)
        self._fleet.observers += [self.health, self.monitor, self.idle, self.storage]
        self._starting_next = False

    # IService

    def privilegedStartService(self) -> None:
        """Lock the directories, end what a crash left, bind the tenants' ports."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._prepare()

    def startService(self) -> None:
        """Begin to serve: eager tenants start now."""
        if self._stop is not None:
            raise SupervisorError("the supervisor is still stopping")
        self._prepare()
        super().startService()  # type: ignore[no-untyped-call]
        # Here and no earlier: it concerns this very process, and twistd may have forked.
        self._launcher.start(
            preload=any(one.enabled and plan.may_preload(one) for one in self._config.tenants)
        )
        self.logs.open()
        self.hooks.open()
        self.idle.open()
        self.storage.open(self._lives.values())
        self._stop_began = None
        self._fleet.grace_used = 0.0
        self._fleet.serving = True
        self._fleet.memory_kills.watch(self._fleet.around.reactor)
        for life in self._lives.values():
            life.attend()

    def about_to_stop(self) -> None:
        """Count from now what of `drain` and `stop_grace` others take before `stopService`."""
        self._stop_began = self._fleet.around.reactor.seconds()

    def stopService(self) -> Deferred[None]:
        """Stop all instances; fires when all is truly gone."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._stop is not None:
            return _joined(self._stop)
        self._fleet.serving = False
        self.idle.close()
        self.storage.close()
        self._fleet.brake.stop()
        self._fleet.memory_kills.stop()
        if self._stop_began is not None:
            drain = max((one.settings.drain for one in self._config.tenants), default=0.0)
            gone_by = self._fleet.around.reactor.seconds() - self._stop_began
            self._fleet.grace_used = max(0.0, gone_by - drain)
        self._stop = Deferred()
        result = _joined(self._stop)
        stops = [life.stop("the service stops") for life in self._lives.values()]
        ended = DeferredList(stops).addCallback(lambda _: self._launcher.stop())
        ended.addCallback(lambda _: self._warden.stop())
        ended.addCallback(lambda _: self.hooks.close())
        ended.addCallback(self._all_stopped)
        return result

    def _all_stopped(self, _: object) -> None:
        self._watching.stop()
        self.logs.close()
        for life in self._lives.values():
            life.close()
        self._premises.release()
        stop, self._stop = self._stop, None
        if stop is not None:
            stop.callback(None)

    def _prepare(self) -> None:
        if self._premises.taken:
            return
        confine_process()
        self._premises.take(self._config)
        for life in self._lives.values():
            life.open()

    def _circumstances(self, tenant: str) -> Circumstances:
        return Circumstances(self.monitor.memory(tenant), self.health.inflight(tenant))

    def _new_life(self, tenant: Tenant) -> Lifecycle:
        # The number names the tenant's sockets, and never comes again.
        return Lifecycle(next(self._indexes), tenant, self._fleet)

    def _start_next(self) -> None:
        if self._starting_next:
            return  # a start that fails at once asks for the next from inside
        self._starting_next = True
        try:
            self._turn_down()
            while (name := self._fleet.starts.take()) is not None:
                self._lives[name].spawn()
        finally:
            self._starting_next = False

    def _turn_down(self) -> None:
        """Let nobody wait for a turn to start while there is no memory for it."""
        waiting = self._fleet.starts.waiting()
        refusal = self._fleet.refusal() if waiting else None
        if refusal is not None:
            for name in waiting:
                self._lives[name].turn_down(refusal)

    def _refusal(self) -> Unavailable | None:
        return self.idle.refusal()

    def _quiet(self, tenant: str) -> Deferred[None]:
        return self._fleet.quiet(tenant)  # whoever says so may come later

    def _ask_about_port(self, tenant: str) -> bool:
        life = self._lives[tenant]
        return life.tenant.port is not None and self.health.ask(life)

    # Instances

    def ready(self, tenant: str) -> Upstream | None:
        """See `Instances.ready`; raises KeyError for an unknown tenant."""
        return self._lives[tenant].upstream

    def wait(self, tenant: str, outcome: Callable[[Upstream | Unavailable], None]) -> Wait:
        """See `Instances.wait`; raises KeyError for an unknown tenant."""
        return self._lives[tenant].wait(outcome)

    def refused(self, upstream: Upstream) -> None:
        """See `Instances.refused`."""
        life = self._lives.get(upstream.tenant)
        if life is not None:
            life.refused(upstream)

    def used(self, upstream: Upstream, ago: float = 0.0) -> None:
        """See `Instances.used`."""
        life = self._lives.get(upstream.tenant)
        if life is not None:
            life.used(upstream, ago)
            self.storage.used(upstream.tenant)

    def watch(self, changed: Callable[[str, Upstream | None], None]) -> None:
        """See `WatchedInstances.watch`."""
        self._fleet.watchers.append(changed)

    def drain_by(self, quiet: Callable[[str], Deferred[None]]) -> None:
        """Before each planned stop wait, for `drain` seconds at most, for `quiet(tenant)`.

        That is a Deferred which fires when no request to the tenant's instance is under way.
        """
        self._fleet.quiet = quiet

    def inflight_by(self, inflight: Callable[[str], int]) -> None:
        """Ask `inflight(tenant)` how many requests the gateway has under way there."""
        self.health.inflight = inflight

    # Another configuration

    def admit(self, change: Plan) -> Generator[None, None, None]:
        """Make ready for the gateway to go over to a plan's routes, step by step.

        One plan at a time, and `settle` with it before the next.
        """
        self._config = config = change.wanted
        self._fleet.starts.limit = _concurrency(config)
        self.idle.apply(config.host_memory)
        self.logs.apply(config.log)
        self.hooks.apply(config.on_event, config.file.parent)
        if self._premises.taken:
            self._premises.ensure_data_root(config)
        yield from self._changes.admit(change)

    def settle(self, change: Plan) -> Generator[None, None, None]:
        """Go over to the plan's tenants, step by step, once the gateway has done so.

        Then tenants may still be on their way (`moving`): it goes on by itself.
        """
        yield from self._changes.settle(change)
        self.logs.forget_all_but(self._lives)
        self.monitor.forget_all_but(self._lives)
        self.storage.attend(self._lives.values())
        self._start_next()

    @property
    def moving(self) -> frozenset[str]:
        """The tenants that are being stopped, or held, for another configuration."""
        return self._changes.moving

    def moved(self) -> Deferred[None]:
        """Return what fires when there are no `moving` tenants."""
        return self._changes.moved()

    # Introspection and control

    def pid(self, tenant: str) -> int | None:
        """Pid of the tenant's process until it is reaped; None without one."""
        return self._lives[tenant].pid

    def summary(self) -> str:
        """Return one line on how the tenants do."""
        return summary(life.state for life in self._lives.values())

    def state(self, tenant: str) -> State:
        """State of the tenant's instance."""
        return self._lives[tenant].state

    def history(self, tenant: str) -> tuple[Change, ...]:
        """The last changes of the tenant's instance, oldest first."""
        return tuple(self._lives[tenant].instance.history)

    def why(self, tenant: str) -> Why:
        """Explain the tenant's state; raises KeyError for an unknown one."""
        return explain(
            self._lives[tenant],
            now=self._fleet.around.reactor.seconds(),
            wall=time.time(),
            braked=self._fleet.brake.on,
            errors=self.logs.errors(tenant),
        )

    @property
    def fleet(self) -> Fleet:
        """What all instances share; parts register as its observers."""
        return self._fleet

    @property
    def health(self) -> HealthWatch:
        """Whether instances live."""
        return self._watching.health

    @property
    def monitor(self) -> Monitor:
        """What instances use."""
        return self._watching.monitor

    @property
    def events(self) -> Events:
        """What happened to tenants and fleet."""
        return self._fleet.events

    @property
    def lives(self) -> Mapping[str, Lifecycle]:
        """Every tenant's lifecycle, by name."""
        return self._lives

    def stop(
        self, tenant: str, reason: str = "stopped on request", *, by_hand: bool = False
    ) -> Deferred[None]:
        """Stop the tenant's instance as planned; fires when it is gone.

        The next demand starts it again; if it was `by_hand`, only `start` and `restart` do.
        """
        life = self._lives[tenant]
        if by_hand:
            life.hold(True)
        return life.stop(reason)

    def start(self, tenant: str, reason: str = "started by hand") -> None:
        """Start the tenant's instance, whatever keeps it from running but `enabled: false`."""
        self._lives[tenant].start(reason)

    def restart(self, tenant: str, reason: str = "restarted by hand") -> Deferred[bool]:
        """Stop and start it, holding requests; fires with whether it takes requests again."""
        return self._lives[tenant].restart(reason)

    def rolling_restart(
        self,
        tenants: Iterable[str] | None = None,
        max_unavailable: int = 1,
        reason: str = "rolling restart",
    ) -> Deferred[Rolled]:
        """Restart what runs of `tenants` (of all), `max_unavailable` at a time.

        Requests are held meanwhile. Fires when it is over; raises KeyError for an unknown one.
        """
        lives = self._lives if tenants is None else {name: self._lives[name] for name in tenants}
        return roll(dict(lives), self._lives, max_unavailable, reason)

    def reset(self, tenant: str, reason: str = "reset by hand") -> None:
        """Forget the tenant's failures; if it waits for another try, that comes at once."""
        self._lives[tenant].reset(reason)


def _joined(deferred: Deferred[None]) -> Deferred[None]:
    """Return another Deferred that fires when `deferred` does."""
    other: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        other.callback(result)

    deferred.addCallback(fire)
    return other


def _concurrency(config: Config) -> int:
    return config.spawn_concurrency or 2 * (os.cpu_count() or 1)
