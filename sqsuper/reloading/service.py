"""Reload as a service: it notices, reads, plans, and has the others go over, in a safe order."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from sqsuper.config.diff import Plan, UndecidableError, plan_in_steps
from sqsuper.config.model import Config, Tenant
from sqsuper.config.plan_text import lines_of, summary_of
from sqsuper.reloading.collector import begin_with_what_is_there, without_collector
from sqsuper.reloading.outcome import Outcome, Result
from sqsuper.reloading.reading import Reading, RefusedError
from sqsuper.reloading.watch import Watch
from sqsuper.slices import Slices

POLL = 0.25
POLL_RESTLESS = 0.1
# Of one reload, in the log: a plan may name thousands of tenants.
MAX_LINES = 100

API, HANGUP, FILE = "the API", "SIGHUP", "a changed file"

P = TypeVar("P")
Amendment = Callable[[Config], Config]
log = Logger()


class Tenants(Protocol):
    """What a reload needs of the supervisor; see there."""

    def admit(self, change: Plan) -> Generator[None, None, None]: ...
    def settle(self, change: Plan) -> Generator[None, None, None]: ...


class Gate(Protocol[P]):
    """What a reload needs of the gateway; see `GatewayService`."""

    async def prepare(
        self, config: Config, changed: Sequence[Tenant], gone: Sequence[str], slices: Slices
    ) -> P: ...
    async def commit(self, prepared: P) -> None: ...


class Reload(Service):
    """Keeps what runs as the configuration says.

    It is read again when `reload` is called, at a hangup, and when one of its files has changed
    and come to rest. One that cannot be gone over to changes nothing at all. Reloads never
    overlap: who asks during one gets the outcome of the next.
    """

    def __init__(
        self,
        config: Config,
        *,
        tenants: Tenants,
        gateway: Gate[Any],
        reactor: Any,
        explain: Callable[[Exception], str | None],
        read: Reading | None = None,
        slices: Slices | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`explain` gives the line for an error of the gateway's, None for a defect."""
        self.config = config
        """What is in force."""
        self.last: Outcome | None = None
        self.begins: list[Callable[[], None]] = []
        """Called when a reload begins."""
        self.ends: list[Callable[[Outcome], None]] = []
        """Called with how it ended."""
        self._tenants = tenants
        self._gateway = gateway
        self._reactor = reactor
        self._explain = explain
        self._slices = Slices(reactor) if slices is None else slices
        self._reading = Reading(reactor, self._slices) if read is None else read
        self._clock = clock
        self._watch = Watch(config.file, config.include)
        self._poll_call: IDelayedCall | None = None
        self._busy = False
        self._asked: list[Deferred[Outcome]] = []
        self._amendments: list[tuple[Amendment, str, Deferred[Outcome]]] = []
        self._trigger: str | None = None
        self._ended: list[Deferred[None]] = []

    # Service

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        begin_with_what_is_there()
        self._poll_later()
        if self._trigger is not None or self._amendments:
            self._begin()

    def stopService(self) -> Deferred[None]:
        """Begin no more; fires when a reload that is under way has ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._poll_call is not None and self._poll_call.active():
            self._poll_call.cancel()
        done: Deferred[None] = Deferred()
        self._ended.append(done)
        self._reading.stop()
        self._check_ended()
        return done

    # What may be asked

    def reload(self, trigger: str = API) -> Deferred[Outcome]:
        """Read the configuration now, and go over to it; return how that ended."""
        done: Deferred[Outcome] = Deferred()
        self._asked.append(done)
        self._want(trigger)
        return done

    def amend(self, amendment: Amendment, trigger: str = API) -> Deferred[Outcome]:
        """Go over to what `amendment` makes of what is in force; return how that ended.

        For what is checked already and stands in the files by now: nothing is read. What
        `amendment` raises refuses it: RefusedError, or a defect.
        """
        done: Deferred[Outcome] = Deferred()
        self._amendments.append((amendment, trigger, done))
        if self.running and not self._busy:
            self._begin()
        return done

    def hangup(self) -> None:
        """Take a SIGHUP."""
        self._want(HANGUP)

    async def plan(self, file: Path | None = None) -> Plan:
        """Return what a reload would do now, and do nothing. Raises RefusedError.

        `file`: what is read instead of the configuration's own.
        """
        instead = self.config if file is None else attrs.evolve(self.config, file=file)
        return await self._planned(await self._reading.read(instead))

    def saying(self) -> str:
        """Return some words if what runs is not what the file says; else none."""
        last = self.last
        if last is None or last.result is not Result.REFUSED:
            return ""
        return f"reload refused, the former configuration runs: {last.text}"

    # One after another

    def _want(self, trigger: str) -> None:
        if self._trigger is None:
            self._trigger = trigger
        if self.running and not self._busy:
            self._begin()

    def _begin(self) -> None:
        self._busy = True
        if self._amendments:
            amendment, trigger, done = self._amendments.pop(0)
            Deferred.fromCoroutine(self._reload(trigger, [done], amendment))
            return
        trigger, self._trigger = self._trigger or API, None
        asked, self._asked = self._asked, []
        Deferred.fromCoroutine(self._reload(trigger, asked))

    async def _reload(
        self, trigger: str, asked: list[Deferred[Outcome]], amendment: Amendment | None = None
    ) -> None:
        for call in self.begins:
            call()
        with without_collector() as kept:
            outcome = await self._attempt(trigger, amendment)
            kept(0 if outcome.plan is None else len(outcome.plan.tenants))
        self._busy = False
        self.last = outcome
        for each in (*self.ends, *(done.callback for done in asked)):
            try:
                each(outcome)
            except Exception:
                log.failure("who was told of a reload failed")
        self._check_ended()
        wanted = self._trigger is not None or self._amendments
        if wanted and self.running and not self._busy:
            self._begin()

    def _check_ended(self) -> None:
        if not self._busy:
            ended, self._ended = self._ended, []
            for done in ended:
                done.callback(None)

    async def _attempt(self, trigger: str, amendment: Amendment | None) -> Outcome:
        plan: Plan | None = None
        try:
            if amendment is None:
                # What changes from now on is another change.
                await self._slices.run(self._watch.catch_up())
                plan = await self._planned(await self._reading.read(self.config))
            else:
                plan = await self._planned(amendment(self.config))
            await self._go_over(plan)
        except RefusedError as error:
            return self._refused(trigger, error.errors, plan)
        except Exception as error:
            line = self._explain(error)
            if line is None:
                log.failure("a reload failed")
                line = f"{error!r} (the log has more)"
            return self._refused(trigger, (line,), plan)
        return self._done(trigger, plan)

    async def _planned(self, config: Config) -> Plan:
        try:
            return await self._slices.run(plan_in_steps(self.config, config))
        except UndecidableError as error:
            raise RefusedError(f"{config.file}: {error}") from None

    async def _go_over(self, plan: Plan) -> None:
        changed = [change.after for change in plan.tenants if change.after is not None]
        gone = [change.name for change in plan.tenants if change.after is None]
        # The one step that can fail, and is undone then.
        prepared = await self._gateway.prepare(plan.wanted, changed, gone, self._slices)
        # Who is new can be asked for before the gateway lets anybody in to them.
        await self._slices.run(self._tenants.admit(plan))
        await self._gateway.commit(prepared)
        # Nobody is let in to them any more who stop now.
        await self._slices.run(self._tenants.settle(plan))
        known = set(self.config.warnings)
        self.config = plan.wanted
        self._watch.follow(plan.wanted.include)
        for warning in plan.wanted.warnings:
            if warning not in known:
                log.warn("{warning}", warning=warning)

    def _refused(self, trigger: str, errors: tuple[str, ...], plan: Plan | None) -> Outcome:
        for line in errors:
            log.error("reload ({trigger}) refused: {line}", trigger=trigger, line=line)
        text = "; ".join(errors)
        return Outcome(self._clock(), trigger, Result.REFUSED, text, errors, plan)

    def _done(self, trigger: str, plan: Plan) -> Outcome:
        text = summary_of(plan)
        if plan.is_empty:
            result = Result.UNCHANGED
            log.info("reload ({trigger}): nothing changes", trigger=trigger)
        else:
            result = Result.APPLIED
            for line in islice(lines_of(plan), MAX_LINES):
                log.info("reload: {line}", line=line)
            log.info("reload ({trigger}): {text}", trigger=trigger, text=text)
        for key in plan.pending:
            log.warn("reload: {key} needs a restart of sqsuper; it is as it was", key=key.key)
        return Outcome(self._clock(), trigger, result, text, (), plan)

    # The files

    def _poll_later(self) -> None:
        delay = POLL_RESTLESS if self._watch.restless else POLL
        self._poll_call = self._reactor.callLater(delay, self._poll)

    def _poll(self) -> None:
        # What changes during a reload is looked at after it.
        if not self._busy and self._watch.poll(self._reactor.seconds()):
            self._want(FILE)
        self._poll_later()
