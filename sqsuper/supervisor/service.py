"""The supervisor as a service: all tenants' instances, one run directory."""

from __future__ import annotations

import contextlib
import itertools
import os
import random as random_module
import resource
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from sqsuper.config.model import Config, Tenant
from sqsuper.instances import Unavailable, Upstream, Wait
from sqsuper.supervisor import groups, listeners, plan, rundir
from sqsuper.supervisor.errors import LaunchError, SupervisorError
from sqsuper.supervisor.instance import Change, State
from sqsuper.supervisor.launchers import Launcher, SpawnLauncher
from sqsuper.supervisor.lifecycle import Fleet, Lifecycle
from sqsuper.supervisor.process import Surroundings
from sqsuper.supervisor.records import Records
from sqsuper.supervisor.remains import Remains
from sqsuper.supervisor.starts import StartQueue
from sqsuper.supervisor.zygote_launcher import ZygoteLauncher

LEFTOVER_GRACE = 1.0
LEFTOVER_PATIENCE = 5.0


def confine_process() -> None:
    """Set what holds for the whole process: umask 0077, no core files, all descriptors."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems name a limit they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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
        self._prepared = False
        self._locks: list[rundir.Lock] = []
        self._stop: Deferred[None] | None = None
        concurrency = config.spawn_concurrency or 2 * (os.cpu_count() or 1)
        self._records = Records(config.run_dir)
        paths = plan.engine_paths() if engine_paths is None else engine_paths
        if launcher is None:
            launcher = SpawnLauncher(reactor)
            if sys.platform.startswith("linux"):
                launcher = ZygoteLauncher(
                    reactor, launcher, paths=paths, run_dir=config.run_dir, random=random
                )
        self._launcher: Launcher = launcher
        self._fleet = Fleet(
            config=config,
            around=Surroundings(
                reactor=reactor,
                launcher=launcher,
                records=self._records,
                remains=Remains(reactor),
                boot=groups.boot_id(),
            ),
            starts=StartQueue(concurrency),
            start_next=self._start_next,
            epochs=itertools.count(1),
            random=random,
            engine_paths=paths,
            data_dirs=plan.data_dirs(config),
            ports={tenant.port for tenant in config.tenants if tenant.port is not None},
        )
        self._lives = {
            tenant.name: Lifecycle(index, tenant, self._fleet)
            for index, tenant in enumerate(config.tenants)
        }
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
        self._fleet.serving = True
        for life in self._lives.values():
            life.attend()

    def stopService(self) -> Deferred[None]:
        """Stop all instances; fires when all is truly gone."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._stop is not None:
            return _joined(self._stop)
        self._fleet.serving = False
        self._stop = Deferred()
        result = _joined(self._stop)
        stops = [life.stop("the service stops") for life in self._lives.values()]
        ended = DeferredList(stops).addCallback(lambda _: self._launcher.stop())
        ended.addCallback(self._all_stopped)
        return result

    def _all_stopped(self, _: object) -> None:
        for life in self._lives.values():
            life.close()
        for lock in self._locks:
            lock.release()
        self._locks.clear()
        self._prepared = False
        stop, self._stop = self._stop, None
        if stop is not None:
            stop.callback(None)

    def _prepare(self) -> None:
        if self._prepared:
            return
        confine_process()
        try:
            self._take_directories()
        except SupervisorError:
            for lock in self._locks:
                lock.release()
            self._locks.clear()
            raise
        self._prepared = True
        for life in self._lives.values():
            life.open()

    def _take_directories(self) -> None:
        config = self._config
        listeners.check_length(config.run_dir)
        others = any(tenant.settings.user is not None for tenant in config.tenants)
        rundir.ensure(config.run_dir, 0o700)
        rundir.ensure(config.data_root, 0o711 if others else 0o700)
        self._locks.append(rundir.Lock(config.run_dir, rundir.RUN_LOCK))
        self._locks.append(rundir.Lock(config.data_root, rundir.DATA_LOCK))
        for tenant in config.tenants:
            if tenant.enabled:
                _check_data_dir(tenant)
        self._end_leftovers()

    def _end_leftovers(self) -> None:
        records = self._records.read()
        left = groups.end_now(records, LEFTOVER_GRACE, LEFTOVER_PATIENCE)
        for group in records:
            if group in left:
                self._log.error(
                    "{tenant}: processes {pids} of an earlier run cannot be ended",
                    tenant=group.tenant,
                    pids=left[group],
                )
            else:
                self._records.remove(group)
        sockets = self._records.remove_sockets()
        if records or sockets:
            self._log.warn(
                "an earlier run was not stopped: {groups} process groups and {sockets} sockets"
                " of it were looked after",
                groups=len(records),
                sockets=sockets,
            )

    def _start_next(self) -> None:
        if self._starting_next:
            return  # a start that fails at once asks for the next from inside
        self._starting_next = True
        try:
            while (name := self._fleet.starts.take()) is not None:
                self._lives[name].spawn()
        finally:
            self._starting_next = False

    # Instances

    def ready(self, tenant: str) -> Upstream | None:
        """See `Instances.ready`; raises KeyError for an unknown tenant."""
        return self._lives[tenant].upstream

    def wait(self, tenant: str, outcome: Callable[[Upstream | Unavailable], None]) -> Wait:
        """See `Instances.wait`; raises KeyError for an unknown tenant."""
        return self._lives[tenant].wait(outcome)

    def refused(self, upstream: Upstream) -> None:
        """See `Instances.refused`."""
        self._lives[upstream.tenant].refused(upstream)

    def used(self, upstream: Upstream) -> None:
        """See `Instances.used`."""
        self._lives[upstream.tenant].used(upstream)

    def watch(self, changed: Callable[[str, Upstream | None], None]) -> None:
        """See `WatchedInstances.watch`."""
        self._fleet.watchers.append(changed)

    def drain_by(self, quiet: Callable[[str], Deferred[None]]) -> None:
        """Before each planned stop wait, for `drain` seconds at most, for `quiet(tenant)`.

        That is a Deferred which fires when no request to the tenant's instance is under way.
        """
        self._fleet.quiet = quiet

    # Introspection and control

    def pid(self, tenant: str) -> int | None:
        """Pid of the tenant's process until it is reaped; None without one."""
        return self._lives[tenant].pid

    def state(self, tenant: str) -> State:
        """State of the tenant's instance."""
        return self._lives[tenant].state

    def history(self, tenant: str) -> tuple[Change, ...]:
        """The last changes of the tenant's instance, oldest first."""
        return tuple(self._lives[tenant].instance.history)

    def stop(self, tenant: str) -> Deferred[None]:
        """Stop the tenant's instance as planned; the next demand starts it again."""
        return self._lives[tenant].stop("stopped on request")


def _joined(deferred: Deferred[None]) -> Deferred[None]:
    """Return another Deferred that fires when `deferred` does."""
    other: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        other.callback(result)

    deferred.addCallback(fire)
    return other


def _check_data_dir(tenant: Tenant) -> None:
    try:
        owner = rundir.owner_of(tenant)
    except LaunchError:
        return  # said when it is to be started
    rundir.check(tenant.data_dir, owner)
