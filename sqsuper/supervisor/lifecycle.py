"""One tenant's instance over time: drives the state machine with a real process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from sqsuper.config.model import Config, Engine, Start, Tenant
from sqsuper.instances import Unavailable, Upstream
from sqsuper.supervisor import listeners, plan, rundir
from sqsuper.supervisor.epoch import Epoch
from sqsuper.supervisor.errors import LaunchError, PortTakenError, SupervisorError
from sqsuper.supervisor.instance import Event, Instance, State
from sqsuper.supervisor.policy import Policy
from sqsuper.supervisor.probe import Probe
from sqsuper.supervisor.process import (
    Exit,
    InstanceProcess,
    Surroundings,
    cancelled,
    inherited_sockets,
)
from sqsuper.supervisor.records import socket_name
from sqsuper.supervisor.starts import StartQueue
from sqsuper.supervisor.waits import Outcome, Waiting, Waits

PORT_RETRY = 5.0
DISABLED_RETRY = 60
STOPPING_RETRY = 5


@attrs.define(eq=False)
class Fleet:
    """What the tenants' instances have in common."""

    config: Config
    around: Surroundings
    starts: StartQueue
    start_next: Callable[[], None]
    """Called when a start may have become possible."""
    epochs: Iterator[int]
    random: Callable[[], float]
    engine_paths: tuple[str, ...]
    data_dirs: frozenset[str]
    ports: set[int] = attrs.field(factory=set)
    """Configured ports, and those that command engines have now."""
    serving: bool = False
    """Between start and stop of the service."""
    watchers: list[Callable[[str, Upstream | None], None]] = attrs.field(factory=list)
    """Told whenever a tenant's upstream changes."""
    quiet: Callable[[str], Deferred[None]] = attrs.field(default=lambda _: succeed(None))
    """Fires when no request to the tenant's instance is under way."""


class Lifecycle:
    """Keeps one tenant's instance as it should be, and answers for it."""

    _log = Logger()

    def __init__(self, index: int, tenant: Tenant, fleet: Fleet) -> None:
        reactor = fleet.around.reactor
        settings = tenant.settings
        self.tenant = tenant
        self.instance = Instance(tenant.name, State.STOPPED if tenant.enabled else State.DISABLED)
        self._upstream: Upstream | None = None
        self.last_used = reactor.seconds()
        self._index = index
        self._fleet = fleet
        self._reactor: Any = reactor
        self._embedded = settings.engine is Engine.EMBEDDED
        self._policy = Policy(settings.restart, fleet.random)
        self._waits = Waits(reactor, settings.health.start_timeout, self._late)
        self._stops: list[Deferred[None]] = []
        self._port: listeners.PortSocket | None = None
        self._epoch: Epoch | None = None
        self._process: InstanceProcess | None = None
        self._probe: Probe | None = None
        self._condemned: str | None = None
        self._failure = ""
        self._due_at = 0.0
        self._due_call: IDelayedCall | None = None
        self._ready_call: IDelayedCall | None = None
        self._drain_call: IDelayedCall | None = None

    # Asked by the service

    @property
    def state(self) -> State:
        return self.instance.state

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def upstream(self) -> Upstream | None:
        """The upstream that takes requests now."""
        return self._upstream

    @upstream.setter
    def upstream(self, upstream: Upstream | None) -> None:
        if upstream is not self._upstream:
            self._upstream = upstream
            for watcher in self._fleet.watchers:
                watcher(self.tenant.name, upstream)

    def open(self) -> None:
        """Bind the tenant's own port, which an embedded engine keeps over all epochs."""
        if self.state is State.STOPPED:
            self._bind()

    def close(self) -> None:
        """Give the port back; only without a process."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def attend(self) -> None:
        """The service runs: start what is to be started at once, watch the port otherwise."""
        if self.tenant.enabled and self.tenant.settings.start is Start.EAGER:
            self.want()
        self._watch()

    def want(self) -> None:
        """See to it that an instance is there or on its way."""
        if not self._fleet.serving:
            return
        if self.state is State.STOPPED and self._bind():
            delay = self._policy.not_before - self._reactor.seconds()
            if delay > 0:
                self._apply(Event.DELAY, "wanted; waits for the backoff to be over")
                self._wait_until_due(delay)
            else:
                self._start("wanted")
        elif self.state is State.STARTING and len(self._waits) > 0:
            self._fleet.starts.promote(self.tenant.name)

    def wait(self, outcome: Outcome) -> Waiting:
        """See `Instances.wait`."""
        waiting = self._waits.add(outcome)
        if not self._fleet.serving:
            self._waits.deliver(Unavailable("stopping", "the service is stopping", STOPPING_RETRY))
        elif self.state is State.DISABLED:
            self._waits.deliver(Unavailable("disabled", "the tenant is disabled", DISABLED_RETRY))
        elif self.state is State.FAILED:
            self._waits.deliver(self._failed())
        elif self.upstream is not None:
            self._waits.deliver(self.upstream)
        else:
            self.want()
        return waiting

    def refused(self, upstream: Upstream) -> None:
        """Take a refused connection: a command engine must show again that it answers.

        An embedded engine's socket is ours and refuses nothing while its epoch lasts.
        """
        if self.upstream is None or upstream.epoch != self.upstream.epoch or self._embedded:
            return
        self.upstream = None
        self._policy.doubted(self._reactor.seconds())
        self._apply(Event.DOUBT, f"refused a connection at port {upstream.port}")
        self._expect_ready()

    def used(self, upstream: Upstream) -> None:
        """Take a request that ended well."""
        if self.upstream is not None and upstream.epoch == self.upstream.epoch:
            self.last_used = self._reactor.seconds()

    def stop(self, reason: str) -> Deferred[None]:
        """Stop as planned; fires when process, group and sockets are gone."""
        self._due_call = cancelled(self._due_call)
        if not self._fleet.serving:
            self._waits.deliver(Unavailable("stopping", "the service is stopping", STOPPING_RETRY))
        if self.instance.can(Event.STOP):
            self.upstream = None
            self._stop_expecting()
            self._apply(Event.STOP, reason)
        if self.state is not State.STOPPING:
            self._forget_epoch()
            self._policy.planned()
            self._go_on()
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stops.append(done)
        if self._process is None:
            self._stopped("it was not running yet")
        elif len(self._stops) == 1:
            self._drain(self._process)
        return done

    def _drain(self, process: InstanceProcess) -> None:
        """End the process when no request is under way, or when that takes too long."""

        def end(_: None = None) -> None:
            if process is self._process:
                self._drain_call = cancelled(self._drain_call)
                process.stop(self.tenant.settings.stop_grace)

        self._drain_call = self._reactor.callLater(self.tenant.settings.drain, end)
        self._fleet.quiet(self.tenant.name).addCallback(end)

    # The way up

    def _start(self, reason: str) -> None:
        self._apply(Event.START, reason)
        self._watch()
        try:
            self._new_epoch()
        except OSError as error:
            self._ended(f"no socket for it: {error.strerror}", clean=False)
            return
        self._fleet.starts.add(self.tenant.name, urgent=len(self._waits) > 0)
        self._fleet.start_next()

    def spawn(self) -> None:
        """Its turn has come: start the process."""
        epoch, fleet = self._epoch, self._fleet
        if self.state is not State.STARTING or self._process is not None or epoch is None:
            fleet.starts.done(self.tenant.name)
            return
        self._condemned = None
        try:
            rundir.ensure(self.tenant.data_dir, 0o700, rundir.owner_of(self.tenant))
            if not self._embedded:
                epoch.choose_port(self.tenant.port, fleet.ports)
            what = plan.plan_for(
                fleet.config,
                self.tenant,
                marker=epoch.marker,
                key=epoch.key,
                port=epoch.port,
                paths=fleet.engine_paths,
                never_from=fleet.data_dirs,
            )
            process = InstanceProcess(what, self, fleet.around)
            self._process = process
            process.launch(
                inherited_sockets(
                    None if epoch.socket is None else epoch.socket.fileno(),
                    None if self._port is None else self._port.fileno(),
                ),
                epoch.control_line(self.tenant.tokens) if self._embedded else b"",
            )
        except SupervisorError as error:
            self._process = None
            self._ended(str(error), clean=False)
            return
        if self._process is process:
            self._expect_ready()

    def _expect_ready(self) -> None:
        health = self.tenant.settings.health
        self._ready_call = self._reactor.callLater(health.start_timeout, self._not_ready)
        if not self._embedded and self._epoch is not None:
            self._probe = Probe(self._reactor, self._epoch.port, health.timeout, self._ready)
            self._probe.start()

    def _stop_expecting(self) -> None:
        self._ready_call = cancelled(self._ready_call)
        if self._probe is not None:
            self._probe.stop()
            self._probe = None
        self._fleet.starts.done(self.tenant.name)

    def _ready(self) -> None:
        process, epoch = self._process, self._epoch
        if self.state is not State.STARTING or self._condemned or process is None or epoch is None:
            return
        self._stop_expecting()
        self._apply(Event.READY, "takes requests")
        self._policy.healthy(self._reactor.seconds())
        process.proven()
        self.upstream = epoch.upstream()
        self.last_used = self._reactor.seconds()
        self._waits.deliver(self.upstream)
        self._fleet.start_next()

    def _not_ready(self) -> None:
        self._ready_call = None
        self._stop_expecting()
        timeout = self.tenant.settings.health.start_timeout
        self._condemned = f"not ready within {timeout:g} s"
        if self._process is not None:
            self._process.kill()
        self._fleet.start_next()

    # The way down (`process.Owner`)

    def process_ready(self, process: InstanceProcess) -> None:
        if process is self._process and self._embedded:
            self._ready()

    def process_exited(self, process: InstanceProcess) -> None:
        if process is self._process:
            self.upstream = None

    def process_ended(self, process: InstanceProcess, how: Exit) -> None:
        if process is not self._process:
            return
        self._process = None
        if self.state is State.STOPPING:
            self._stopped(str(how))
            return
        reason = self._condemned or str(how)
        if process.refusal is not None:
            reason = f"{reason}: {process.refusal}"
        self._ended(reason, clean=how.clean and self.state is State.HEALTHY)

    def process_failed(self, process: InstanceProcess, error: LaunchError) -> None:
        if process is not self._process:
            return
        self._process = None
        if self.state is State.STOPPING:
            self._stopped(str(error))
        else:
            self._ended(self._condemned or str(error), clean=False)

    def _stopped(self, reason: str) -> None:
        """A planned stop is complete."""
        self._drain_call = cancelled(self._drain_call)
        self._stop_expecting()
        self._forget_epoch()
        self._policy.planned()
        self._apply(Event.END, reason)
        stops, self._stops = self._stops, []
        for done in stops:
            done.callback(None)
        self._go_on()
        self._fleet.start_next()

    def _go_on(self) -> None:
        """After a planned stop: requests that came meanwhile start it again."""
        if len(self._waits) > 0:
            self.want()
        self._watch()

    def _ended(self, reason: str, *, clean: bool) -> None:
        """It ended unplanned, or did not come to be; try again as the policy says."""
        self.upstream = None
        self._stop_expecting()
        self._forget_epoch()
        delay = self._policy.ended(self._reactor.seconds(), clean=clean)
        if delay is None:
            self._apply(Event.END, reason)
            self._failure = reason
            self._waits.deliver(self._failed())
        else:
            self._apply(Event.RETRY, reason)
            self._wait_until_due(delay)
            # The next one's socket is there at once; if it cannot be made now, then later.
            try:
                self._new_epoch()
            except OSError as error:
                self._log.warn("{tenant}: {error}", tenant=self.tenant.name, error=error)
        self._watch()
        self._fleet.start_next()

    def _wait_until_due(self, delay: float) -> None:
        self._due_at = self._reactor.seconds() + delay
        self._due_call = self._reactor.callLater(delay, self._due)

    def _due(self) -> None:
        self._due_call = None
        self._start("the backoff is over")

    # Its own port

    def _bind(self) -> bool:
        """Whether the tenant's port, if it has one of its own, is ours."""
        port = self.tenant.port
        if port is None or not self._embedded or self._port is not None:
            return True
        try:
            self._port = listeners.PortSocket(self.tenant.name, port, self._reactor, self.want)
        except PortTakenError as error:
            self._failure = str(error)
            if self.state is State.STOPPED:
                self._log.error("{error}", error=str(error))
                self._apply(Event.FAIL, str(error))
                self._waits.deliver(self._failed())
            self._due_at = self._reactor.seconds() + PORT_RETRY
            self._due_call = self._reactor.callLater(PORT_RETRY, self._bind_again)
            return False
        return True

    def _bind_again(self) -> None:
        self._due_call = None
        if self._bind():
            self._apply(Event.STOP, f"port {self.tenant.port} is free now")
            self.attend()

    def _watch(self) -> None:
        if self._port is None:
            return
        if self.state is State.STOPPED and self._fleet.serving:
            self._port.watch()
        else:
            self._port.unwatch()

    # Small parts

    def _apply(self, event: Event, reason: str) -> None:
        change = self.instance.apply(event, self._reactor.seconds(), reason)
        self._log.info(
            "{tenant}: {before} -> {after} ({reason})",
            tenant=self.tenant.name,
            before=change.before.value,
            after=change.after.value,
            reason=reason,
        )

    def _new_epoch(self) -> None:
        if self._epoch is not None:
            return
        name, number = self.tenant.name, next(self._fleet.epochs)
        if self._embedded:
            path = self._fleet.config.run_dir / socket_name(self._index, number)
            self._epoch = Epoch.embedded(name, number, path)
        else:
            self._epoch = Epoch.command(name, number)

    def _forget_epoch(self) -> None:
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            epoch.close()
            if epoch.port != self.tenant.port:
                self._fleet.ports.discard(epoch.port)

    def _late(self) -> Unavailable:
        if self.state is State.BACKOFF:
            reason = "the instance does not start; it is tried again"
            return Unavailable("starting", reason, self._seconds_left())
        return Unavailable("starting", "the instance is not ready yet", 1)

    def _failed(self) -> Unavailable:
        return Unavailable("failed", self._failure, self._seconds_left())

    def _seconds_left(self) -> int:
        due = max(self._due_at, self._policy.not_before)
        return max(1, math.ceil(due - float(self._reactor.seconds())))
