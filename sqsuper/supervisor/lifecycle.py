"""One tenant over time: what is wanted of its instance, and who may use it."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from sqsuper.config.model import Engine, Start, Tenant
from sqsuper.instances import Unavailable, Upstream
from sqsuper.sockets.capabilities import HERE
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.course import Course
from sqsuper.supervisor.epoch import Epoch
from sqsuper.supervisor.errors import PortTakenError
from sqsuper.supervisor.fleet import Circumstances, Fleet
from sqsuper.supervisor.instance import ENDING, RUNNING, Change, Event, Instance, State
from sqsuper.supervisor.keeper import Keeper
from sqsuper.supervisor.own_port import OwnPort
from sqsuper.supervisor.policy import Policy
from sqsuper.supervisor.process import InstanceProcess
from sqsuper.supervisor.reception import Reception
from sqsuper.supervisor.records import socket_name
from sqsuper.supervisor.run import Ending, Run
from sqsuper.supervisor.waits import Outcome, Waiting

PORT_RETRY = 5.0


class Lifecycle:
    """Keeps one tenant's instance as it should be, and answers for it.

    All is done at once, in the reactor's thread; a call that comes in a state that does not
    know it changes nothing.
    """

    _log = Logger()

    def __init__(self, index: int, tenant: Tenant, fleet: Fleet) -> None:
        reactor = fleet.around.reactor
        self.tenant = tenant
        self.held = tenant.stopped
        """Stopped by hand: nothing starts it but `start`, `restart` or `hold(False)`."""
        self._index = index
        self._fleet = fleet
        self._reactor: Any = reactor
        self._embedded = tenant.settings.engine is Engine.EMBEDDED
        state = State.STOPPED if tenant.enabled else State.DISABLED
        self._course = Course(tenant.name, state, fleet, self._changed)
        self._reception = Reception(self, fleet)
        self._keeper = Keeper(self, self._course, self._reception, fleet)
        self._port = OwnPort(tenant.name, self._own_port(), reactor, self._knocked)
        self._stops: list[Deferred[None]] = []
        self._restarts: list[Deferred[bool]] = []
        self._again = False
        self._suspended = False
        self._missed = False

    # What it is now

    @property
    def instance(self) -> Instance:
        """Its state and the last changes of it."""
        return self._course.instance

    @property
    def state(self) -> State:
        return self._course.instance.state

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    @property
    def process(self) -> InstanceProcess | None:
        """The process that is there or coming; None without one."""
        run = self._keeper.run
        return None if run is None else run.process

    @property
    def processes(self) -> list[InstanceProcess]:
        """All processes that are there or coming: at most one takes new requests."""
        return self._keeper.processes

    @property
    def port(self) -> int:
        """The port of a command engine's present epoch; 0 without one."""
        run = self._keeper.run
        return 0 if run is None else run.epoch.port

    @property
    def is_embedded(self) -> bool:
        """Whether its process is, or will be, an embedded engine."""
        return self._embedded

    @property
    def policy(self) -> Policy:
        """What its failures came to."""
        return self._keeper.policy

    @property
    def ending(self) -> Ending | None:
        """How the last run ended that was not ended as planned."""
        return self._keeper.ending

    @property
    def due_at(self) -> float | None:
        """When it is tried again by itself (the reactor's seconds); None if it is not."""
        return self._keeper.next_try.at

    @property
    def upstream(self) -> Upstream | None:
        """The upstream that takes requests now."""
        return self._reception.upstream

    @property
    def last_used(self) -> float:
        """When it last answered a request, or became ready (the reactor's seconds)."""
        return self._keeper.last_used

    @last_used.setter
    def last_used(self, at: float) -> None:
        self._keeper.last_used = at

    def circumstances(self) -> Circumstances:
        """Return what the instance is at now."""
        return self._keeper.circumstances()

    # Asked by the service

    def open(self) -> None:
        """Bind the tenant's own port, which an embedded engine keeps over all epochs."""
        if self.state is State.STOPPED:
            self._bind()

    def close(self) -> None:
        """Give the port back; only without a process."""
        self._port.close()

    def attend(self) -> None:
        """The service runs: start what is to be started at once, watch the port otherwise."""
        if self.tenant.enabled and self.tenant.settings.start is Start.EAGER:
            self.want()
        self._watch()

    def want(self) -> None:
        """See to it that an instance is there or on its way."""
        if self._suspended:
            self._missed = True
            return
        if not self._fleet.serving or self.held:
            return
        if self.state is State.STOPPED and self._bind():
            delay = self.policy.not_before - self._reactor.seconds()
            if delay > 0:
                self._keeper.delay(delay, "wanted; waits for the backoff to be over")
            else:
                self._keeper.begin("wanted")
        elif self.state is State.STARTING and self._reception.awaited:
            self._fleet.starts.promote(self.tenant.name)

    def spawn(self) -> None:
        """Its turn has come: start the process."""
        self._keeper.spawn()

    def try_again(self) -> None:
        """The fleet's brake lets it start again."""
        self._keeper.next_try.now()

    def turn_down(self, refusal: Unavailable) -> None:
        """There is no room for its start now: requests are told, the next demand tries again.

        Not for an eager tenant, nor for what ran just before: that takes no more than it had.
        """
        if self.state is not State.STARTING or self.process is not None or self._restarts:
            return
        cold = self.instance.history[-1].before is State.STOPPED
        if cold and self.tenant.settings.start is Start.LAZY:
            self._reception.refuse(refusal)
            self.stop(refusal.reason)

    # Requests

    def wait(self, outcome: Outcome) -> Waiting:
        """See `Instances.wait`."""
        return self._reception.wait(outcome)

    def refused(self, upstream: Upstream) -> None:
        """Take a refused connection: a command engine must show to probes that it answers.

        An embedded engine's socket is ours and refuses nothing while its epoch lasts, unless
        somebody removed its path: then nothing but another epoch helps.
        """
        present = self.upstream
        if present is None or upstream.epoch != present.epoch:
            return
        if present.path is None:
            self.doubted(Cause.PROBE, f"refused a connection at port {present.port}")
        elif not os.path.lexists(present.path):
            self.condemn(Cause.PROBE, f"its socket {present.path} was removed", drain=True)

    def used(self, upstream: Upstream, ago: float = 0.0) -> None:
        """Take a request that ended well `ago` seconds ago."""
        if self.upstream is not None and upstream.epoch == self.upstream.epoch:
            # Another gateway worker may have told of a later one.
            self.last_used = max(self.last_used, self._reactor.seconds() - max(0.0, ago))

    # Health

    def doubted(self, cause: Cause, reason: str) -> None:
        """See `Keeper.doubted`."""
        self._keeper.doubted(cause, reason)

    def recovered(self, reason: str) -> None:
        """See `Keeper.recovered`."""
        self._keeper.recovered(reason)

    def condemn(self, cause: Cause, reason: str, *, drain: bool) -> None:
        """See `Keeper.condemn`."""
        self._keeper.condemn(cause, reason, drain=drain)

    # Stop and start

    def stop(self, reason: str) -> Deferred[None]:
        """Stop as planned; fires when process, group and sockets are gone.

        The next demand starts it again, unless it is `held`.
        """
        self._again = False
        return self._stop(reason)

    def restart(self, reason: str) -> Deferred[bool]:
        """Stop as planned and start again; new requests are held meanwhile.

        A healthy embedded engine goes on until its successor is loaded; if that cannot be
        done, it just goes on. Fires with True when the next one takes requests, with False
        when it did not come to that at the first attempt, or was stopped instead.
        """
        if self.state is State.DISABLED or not self._fleet.serving:
            return succeed(False)
        self.held = False
        done: Deferred[bool] = Deferred()
        self._restarts.append(done)
        self._again = True
        if self._keeper.may_be_replaced() and not self._suspended:
            self._keeper.replace()
        elif not self._keeper.replacing:
            self._stop(reason)
        return done

    def reset(self, reason: str) -> None:
        """Forget all failures; what waits for another try, or was given up, is tried at once."""
        self.policy.planned()
        if self.state in {State.BACKOFF, State.FAILED} and self._fleet.serving:
            self._keeper.drop(reason)
            self.want()

    def start(self, reason: str) -> None:
        """Start it, whoever stopped it and however often it failed."""
        self.hold(False)
        if self._stops:
            self._again = True
        elif self.state not in RUNNING:
            self.reset(reason)
            self.want()

    def hold(self, by_hand: bool) -> None:
        """Keep it stopped, or let it start again. Whoever holds it stops it, too."""
        self.held = by_hand
        if by_hand:
            self._again = False
            self._reception.refuse_if_vain()
        self._watch()

    def _stop(self, reason: str) -> Deferred[None]:
        if not self._fleet.serving:
            self._reception.refuse_if_vain()
        if self.state not in RUNNING:
            self._keeper.drop(reason)
            self._go_on()
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stops.append(done)
        self._keeper.end(reason)
        return done

    def _go_on(self) -> None:
        """After a planned stop: start it if that was planned, too, or if requests wait."""
        if self._again or self._reception.awaited:
            self._again = False
            self.want()
        if self.state is not State.STARTING:
            self._restarted(False)
        self._watch()

    # Reload

    def configure(self, tenant: Tenant) -> None:
        """Go on with other settings: what is running keeps those that it was started with.

        Only without a process may engine, port or data directory change.
        """
        self.tenant = tenant
        self.policy.settings = tenant.settings.restart
        run = self._keeper.run
        if run is not None and run.launched:
            return
        if run is not None:
            run.tenant = tenant
        self._embedded = tenant.settings.engine is Engine.EMBEDDED
        number = self._own_port()
        if number != self._port.number:
            self._port.close()
            self._port = OwnPort(tenant.name, number, self._reactor, self._knocked)

    def suspend(self) -> None:
        """Start nothing before `resume`; requests are held."""
        if not self._suspended:
            self._suspended = True
            self._missed = self.state in RUNNING or self.state is State.BACKOFF

    def resume(self) -> None:
        """Start again if it ran or was wanted meanwhile."""
        self._suspended = False
        missed, self._missed = self._missed, False
        if missed or self._reception.awaited:
            self.want()
        self.attend()

    def enable(self, reason: str) -> None:
        """Let it be started, from now on."""
        if self.instance.can(Event.ENABLE):
            self._course.apply(Event.ENABLE, reason)

    def disable(self, reason: str) -> None:
        """Let nothing start it; to be stopped before."""
        if self.instance.can(Event.DISABLE):
            self._course.apply(Event.DISABLE, reason)
        self._reception.refuse_if_vain()

    # Keeper's owner

    def new_run(self) -> Run:
        name, number = self.tenant.name, next(self._fleet.epochs)
        # Socket and record stand there; somebody may have cleaned up too much.
        self._fleet.config.run_dir.mkdir(mode=0o700, exist_ok=True)
        if self._embedded and HERE.inheritance:
            path = self._fleet.config.run_dir / socket_name(self._index, number)
            epoch = Epoch.embedded(name, number, path)
        else:
            epoch = Epoch.at_port(name, number)
        return Run(self.tenant, epoch, self._keeper, self._fleet)

    def inherited_port(self) -> int | None:
        return self._port.fileno()

    def came(self) -> None:
        self._again = False
        self._restarted(True)

    def not_replaced(self) -> None:
        if self.state not in ENDING:
            self._again = False
            self._restarted(False)

    def stopped(self) -> None:
        stops, self._stops = self._stops, []
        for done in stops:
            done.callback(None)
        self._go_on()

    def failed(self) -> None:
        self._restarted(False)

    # Its own port

    def _own_port(self) -> int | None:
        """Return the port that we bind and its engine inherits."""
        return self.tenant.port if self._embedded and HERE.inheritance else None

    def _bind(self) -> bool:
        """Whether the tenant's port, if it has one of its own, is ours."""
        try:
            self._port.bind()
        except PortTakenError as error:
            self._keeper.next_try.set(PORT_RETRY, self._bind_again, braked=False)
            if self.state is State.STOPPED:
                text = str(error.with_holder())
                self._log.error("{text}", text=text)
                ending = Ending(self._reactor.seconds(), Cause.PORT_TAKEN, text)
                self._keeper.give_up(ending, PORT_RETRY)
            return False
        return True

    def _bind_again(self) -> None:
        if self._bind():
            self._course.apply(Event.STOP, f"port {self.tenant.port} is free now")
            self.attend()

    def _knocked(self) -> None:
        """A connection waits at it."""
        refusal = self._fleet.refusal()
        if refusal is None:
            self.want()
        else:
            self._port.watch_later(refusal.retry_after)

    def _watch(self) -> None:
        self._port.watch(self.state is State.STOPPED and self._fleet.serving and not self.held)

    # Small parts

    def _changed(self, change: Change) -> None:
        self._reception.starting(change.after is State.STARTING)
        self._watch()
        for observer in self._fleet.observers:
            try:
                observer.became(self, change)
            except Exception:
                self._log.failure("an observer of {tenant} failed", tenant=self.tenant.name)

    def _restarted(self, well: bool) -> None:
        restarts, self._restarts = self._restarts, []
        for done in restarts:
            done.callback(well)
