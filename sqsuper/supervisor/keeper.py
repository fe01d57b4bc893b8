"""One tenant's instance, kept running: started, watched over and ended, as its policy says."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from sqsuper.config.model import Engine, Tenant
from sqsuper.sockets.capabilities import HERE
from sqsuper.supervisor import run as runs
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.charge import Charge
from sqsuper.supervisor.course import Course
from sqsuper.supervisor.errors import SupervisorError
from sqsuper.supervisor.events import Kind
from sqsuper.supervisor.fleet import Circumstances, Fleet
from sqsuper.supervisor.instance import ENDING, RUNNING, Event, State
from sqsuper.supervisor.next_try import NextTry
from sqsuper.supervisor.policy import Next, Policy
from sqsuper.supervisor.probation import Probation
from sqsuper.supervisor.process import InstanceProcess, cancelled
from sqsuper.supervisor.reception import Reception
from sqsuper.supervisor.run import Ending, Run
from sqsuper.supervisor.successor import Successor


class KeeperOwner(Protocol):
    """Who says what is wanted of the instance, and is told what came of it."""

    @property
    def tenant(self) -> Tenant: ...

    def new_run(self) -> Run:
        """Return a run of a new epoch, told to the keeper. Raises OSError."""

    def inherited_port(self) -> int | None:
        """Return the descriptor of the tenant's own port."""

    def came(self) -> None:
        """It takes requests, for the first time since it was begun."""

    def stopped(self) -> None:
        """It ended as planned, and nothing of it is left."""

    def failed(self) -> None:
        """It ended otherwise, or did not come to be; what follows is set."""

    def not_replaced(self) -> None:
        """No successor came to be; it goes on, or ends, as if none had been tried."""


class Keeper:
    """Drives the state machine of one tenant's instance with real processes.

    What is planned comes from its owner (`begin`, `delay`, `end`, `give_up`); what is not,
    from the process and from those who watch over it (`doubted`, `recovered`, `condemn`).
    """

    _log = Logger()

    def __init__(
        self, owner: KeeperOwner, course: Course, reception: Reception, fleet: Fleet
    ) -> None:
        tenant = owner.tenant
        self.policy = Policy(tenant.settings.restart, fleet.random)
        self.next_try = NextTry(tenant.name, fleet)
        self.run: Run | None = None
        """The present one, which may still wait for its turn to start."""
        self.ending: Ending | None = None
        """How the last run ended that was not ended as planned."""
        self.last_used: float = fleet.around.reactor.seconds()
        self._name = tenant.name
        self._owner = owner
        self._course = course
        self._reception = reception
        self._fleet = fleet
        self._reactor: Any = fleet.around.reactor
        self._successor: Successor | None = None
        self._planned = False
        self._stopped_by = ""
        self._charge = Charge()
        self._drain_call: IDelayedCall | None = None
        self._probation = Probation(self.policy, course, self._reactor)

    @property
    def state(self) -> State:
        return self._course.instance.state

    @property
    def launched(self) -> bool:
        """Whether there is a process, or will be."""
        return self.run is not None and self.run.launched

    @property
    def processes(self) -> list[InstanceProcess]:
        """The present one, and a successor's."""
        runs = [self.run, None if self._successor is None else self._successor.run]
        return [run.process for run in runs if run is not None and run.process is not None]

    def circumstances(self) -> Circumstances:
        """Return what the instance is at now."""
        return self._fleet.circumstances(self._name)

    # The way up

    def begin(self, reason: str) -> None:
        """Start it, when its turn comes; from STOPPED, BACKOFF or FAILED.

        A successor takes over at once.
        """
        self._course.apply(Event.START, reason)
        try:
            self._prepare()
        except OSError as error:
            why = f"no socket for it: {error.strerror}"
            self._failed(Ending(self._reactor.seconds(), Cause.CRASH, why))
            return
        if self.launched:
            self._take_over()
            return
        self._fleet.starts.add(self._name, urgent=self._reception.awaited)
        self._fleet.start_next()

    def delay(self, seconds: float, reason: str) -> None:
        """Start it, but not before so many seconds; from STOPPED."""
        self._course.apply(Event.DELAY, reason)
        self.next_try.set(seconds, self._try_again)

    def spawn(self) -> None:
        """Its turn has come: start the process."""
        run = self.run
        if self.state is not State.STARTING or run is None or run.launched:
            self._fleet.starts.done(self._name)
            return
        try:
            run.launch(self._owner.inherited_port())
        except SupervisorError as error:
            self._failed(runs.failure_to_start(self._reactor.seconds(), error))

    def run_stands_by(self, run: Run) -> None:
        pass  # what is left of the run before is ending

    def run_ready(self, run: Run) -> None:
        if run is not self.run:
            return
        if self.state is State.UNHEALTHY:
            self.recovered("it answers again")
        elif self.state is State.STARTING:
            self._expect_no_more()
            self._course.apply(Event.READY, "takes requests")
            self._takes_requests(run)
            self._owner.came()
            self._fleet.start_next()

    def _takes_requests(self, run: Run) -> None:
        now = self._reactor.seconds()
        self.policy.healthy(now)
        self._probation.begin()
        self.last_used = now
        self._reception.open(run.epoch.upstream())

    # While it runs

    def doubted(self, cause: Cause, reason: str) -> None:
        """It does not answer as it should: hold new requests until `recovered`."""
        if self.state is not State.HEALTHY:
            return
        self._reception.close()
        self._probation.cancel()
        self.policy.doubted(self._reactor.seconds())
        self._course.apply(Event.DOUBT, reason, cause)
        self._course.tell(Kind.UNHEALTHY, cause, reason)

    def recovered(self, reason: str) -> None:
        """It answers again."""
        if self.state is State.UNHEALTHY and self.run is not None:
            self.run.expect_no_more()
            self._course.apply(Event.RECOVER, reason)
            self._course.tell(Kind.RECOVERED, None, reason)
            self._takes_requests(self.run)

    def condemn(self, cause: Cause, reason: str, *, drain: bool) -> None:
        """End the process for what it did: that counts as a failure.

        With `drain` after the requests under way, for at most `drain` seconds; new ones are
        held. One that ends already is not condemned any more, but is no longer drained
        without `drain`.
        """
        if self.state in RUNNING - ENDING:
            if self.launched:  # otherwise it waits for its turn, and did nothing yet
                self._charge.condemn(cause, reason, self.circumstances())
                self._end(reason, drain=drain, cause=cause)
        elif self.state is State.DRAINING and not drain:
            self._end_now(reason)

    def run_late(self, run: Run) -> None:
        if run is not self.run or self.state in ENDING:
            return
        reason = f"not ready within {run.tenant.settings.health.start_timeout:g} s"
        self._charge.condemn(Cause.START_TIMEOUT, reason, self.circumstances())
        self._expect_no_more()
        self._course.apply(Event.STOP, reason, Cause.START_TIMEOUT)
        run.kill()
        self._fleet.start_next()

    # Its successor

    @property
    def replacing(self) -> bool:
        """Whether a successor is being started, or stands by."""
        return self._successor is not None

    def may_be_replaced(self) -> bool:
        """Whether a successor could be loaded beside it."""
        tenant = self._owner.tenant
        # An own port that is not inherited cannot be bound twice.
        possible = HERE.inheritance or tenant.port is None
        embedded = tenant.settings.engine is Engine.EMBEDDED
        return embedded and possible and self.state is State.HEALTHY and not self.replacing

    def replace(self) -> None:
        """Load a successor; when it stands by, end the present run as planned.

        If there cannot be one, `KeeperOwner.not_replaced` is called, perhaps at once. If the
        present run ends by itself meanwhile, its successor takes its place.
        """
        settings = self._owner.tenant.settings
        try:
            run = self._owner.new_run()
        except OSError as error:
            self._log.error("{tenant}: no successor: {error}", tenant=self._name, error=error)
            self._owner.not_replaced()
            return
        self._successor = Successor(run, self)
        patience = settings.health.start_timeout + settings.drain + 2 * settings.stop_grace
        try:
            run.launch(self._owner.inherited_port(), patience=patience)
        except SupervisorError as error:
            ending = runs.failure_to_start(self._reactor.seconds(), error)
            self._successor.run_ended(run, ending)

    def successor_stands_by(self) -> None:
        if self.state not in ENDING:
            self._planned = True
            self._end("its successor stands by", drain=True)

    def successor_ended(self, ending: Ending) -> None:
        dismissed = self._successor is not None and self._successor.dismissed
        self._successor = None
        if self._stopped_by:
            self._stopped(self._stopped_by)
        elif not dismissed:
            self._owner.not_replaced()

    def _take_over(self) -> None:
        """What was the successor is the present run now."""
        run = self.run
        assert run is not None
        run.owner = self
        if run.was_ready:
            self.run_ready(run)
        else:
            run.expect()

    # The way down, as planned

    def end(self, reason: str) -> None:
        """End what runs, as planned: drained if it took requests; `KeeperOwner.stopped` follows.

        In RUNNING only; what ends already, ends as planned from now on.
        """
        self._planned = True
        if self._successor is not None:
            self._successor.dismiss()
        if self.state in ENDING:
            return
        if self.launched:
            self._end(reason, drain=True)
        else:
            self._end(reason, drain=False)
            self._stopped("it was not running yet")

    def drop(self, reason: str) -> None:
        """Try it no more, and forget its failures; not in RUNNING."""
        self.next_try.cancel()
        if self._course.instance.can(Event.STOP):
            self._course.apply(Event.STOP, reason)
        self._forget()
        self.policy.planned()

    def _end(self, reason: str, *, drain: bool, cause: Cause | None = None) -> None:
        """Begin to end what runs, in RUNNING but not ENDING."""
        self._reception.close()
        self._expect_no_more()
        if not drain or self.state is State.STARTING:
            self._end_now(reason, cause)
            return
        self._course.apply(Event.DRAIN, reason, cause)
        run = self.run

        def end(why: str) -> None:
            if run is self.run and self.state is State.DRAINING:
                self._end_now(why)

        seconds = self._owner.tenant.settings.drain
        self._drain_call = self._reactor.callLater(seconds, end, f"not quiet within {seconds:g} s")
        quiet = self._fleet.quiet(self._name)
        quiet.addCallback(lambda _: end("no request is under way"))

    def _end_now(self, reason: str, cause: Cause | None = None) -> None:
        self._drain_call = cancelled(self._drain_call)
        self._course.apply(Event.STOP, reason, cause)
        if self.run is not None:
            grace = self._owner.tenant.settings.stop_grace
            self.run.stop(max(0.0, grace - self._fleet.grace_used))

    def _stopped(self, reason: str) -> None:
        self._forget()
        if self._successor is not None and self._successor.dismissed:
            self._stopped_by = reason  # and when that is gone, it is really over
            return
        self._stopped_by = ""
        self.policy.planned()
        self._course.apply(Event.END, reason)
        self._owner.stopped()
        self._fleet.start_next()

    # The way down, otherwise

    def run_exited(self, run: Run) -> None:
        if run is self.run:
            self._charge.seen(self.circumstances())
            self._reception.close()

    def run_ended(self, run: Run, ending: Ending) -> None:
        if run is not self.run:
            return
        if self._planned:
            self._stopped(ending.reason)
            return
        self._failed(self._charge.ending(ending))

    def give_up(self, ending: Ending, retry: float) -> None:
        """There is no use in starting it; from STOPPED. Another try is the owner's to set."""
        self.ending = ending
        self._course.apply(Event.FAIL, ending.reason, ending.cause)
        self._course.tell(Kind.FAILED, ending.cause, ending.reason, retry_after=retry)
        self._reception.refuse_for_failure()

    def _failed(self, ending: Ending) -> None:
        """It ended unplanned, or did not come to be; go on as the policy says."""
        self.ending = ending
        self._reception.close()
        self._forget()
        self._fleet.brake.failed(self._name, ending.cause)
        verdict = self.policy.ended(self._reactor.seconds(), ending.cause, clean=ending.clean)
        if self._successor is not None:
            self._course.apply(Event.RETRY, ending.reason, ending.cause)
            self.begin("its successor is there")
            return
        self._course.apply(_EVENTS[verdict.next], ending.reason, ending.cause)
        if verdict.next is Next.FAIL:
            self._course.tell(Kind.FAILED, ending.cause, ending.reason, retry_after=verdict.delay)
        if verdict.delay is not None:
            self.next_try.set(verdict.delay, self._try_again)
        if verdict.next is Next.RETRY:
            # The next one's socket is there at once; if it cannot be made now, then later.
            try:
                self._prepare()
            except OSError as error:
                self._log.warn("{tenant}: {error}", tenant=self._name, error=error)
        else:
            self._reception.refuse_for_failure()
        self._owner.failed()
        self._fleet.start_next()

    def _try_again(self) -> None:
        trial = self.state is State.FAILED
        self.begin("one trial" if trial else "the backoff is over")
        if self.ending is not None:
            cause = self.ending.cause
            text = f"started again after {cause.value} ({self.ending.reason})"
            self._course.tell(Kind.RESTARTED, cause, text)

    # Small parts

    def _prepare(self) -> None:
        if self._successor is not None:
            self.run, self._successor = self._successor.run, None
        if self.run is None:
            self.run = self._owner.new_run()

    def _expect_no_more(self) -> None:
        self._probation.cancel()
        if self.run is not None:
            self.run.expect_no_more()
        self._fleet.starts.done(self._name)

    def _forget(self) -> None:
        self._drain_call = cancelled(self._drain_call)
        self._expect_no_more()
        self._planned = False
        self._charge = Charge()
        run, self.run = self.run, None
        if run is not None:
            run.close()


_EVENTS = {Next.RETRY: Event.RETRY, Next.STAY: Event.END, Next.FAIL: Event.FAIL}
