"""Starts embedded engines by fork from a zygote, and spawns whatever that cannot.

A start never runs two engines: whoever is forked waits for a byte on its control pipe, and a
start that is given up closes that pipe, unsent, before another process is made.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from sqsuper.config.model import Restart
from sqsuper.supervisor import reaper
from sqsuper.supervisor.adopted import Adopted, Pipes, is_our_child
from sqsuper.supervisor.launchers import Launcher, LaunchProtocol
from sqsuper.supervisor.plan import Plan
from sqsuper.supervisor.policy import Backoff
from sqsuper.supervisor.reaper import Reaper
from sqsuper.supervisor.zygote import Answer, Zygote

READY_SECONDS = 4.0
ANSWER_SECONDS = 1.0
END_SECONDS = 1.0
ROOM = "warming-up"


@attrs.define(eq=False)
class _Start:
    """One start that the zygote was asked for. `inherited` are duplicates of our own."""

    protocol: LaunchProtocol
    plan: Plan
    inherited: dict[int, int]
    pipes: Pipes

    @classmethod
    def of(cls, protocol: LaunchProtocol, plan: Plan, inherited: dict[int, int]) -> _Start:
        """Make its pipes; raises OSError."""
        own: dict[int, int] = {}
        try:
            for child, ours in inherited.items():
                own[child] = os.dup(ours)
            return cls(protocol, plan, own, Pipes())
        except OSError:
            _close(own)
            raise

    def close(self) -> None:
        """Give it up: a process that was forked for it ends."""
        self.pipes.close()
        _close(self.inherited)


class ZygoteLauncher:
    """Forks plans that may be `preloaded`, while there is a zygote that answers (Linux).

    It answers in the order in which it is asked; one that is silent for `ANSWER_SECONDS`
    while starts wait is killed. A zygote that ended is replaced, after a backoff when that
    comes often; meanwhile, and for what it does not do, `spawn` starts processes. While the
    service runs, this process takes in orphans, and reaps those that nobody else waits for.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        spawn: Launcher,
        *,
        paths: tuple[str, ...],
        run_dir: Path,
        random: Callable[[], float],
    ) -> None:
        """`paths`: where the engine is imported from."""
        self._reactor = reactor
        self._spawn = spawn
        self._paths = paths
        self._room = run_dir / ROOM
        self._backoff = Backoff(Restart(reset_after=10.0), random)
        self._reaper = Reaper(reactor, lambda: bool(self._starts))
        self._numbers = itertools.count(1)
        self._starts: dict[int, _Start] = {}
        self._zygote: Zygote | None = None
        self._running: list[Zygote] = []
        self._usable = False
        self._ready = False
        self._first = True
        self._deadline: IDelayedCall | None = None
        self._again: IDelayedCall | None = None
        self._was_subreaper = False

    @property
    def pid(self) -> int | None:
        """The zygote's pid, None while there is none."""
        return None if self._zygote is None else self._zygote.pid

    @property
    def ready(self) -> bool:
        """Whether there is a zygote that has loaded and warmed the engine."""
        return self._ready

    def start(self, *, preload: bool) -> None:
        """See `Launcher`."""
        self._was_subreaper = reaper.subreaper()
        self._usable = reaper.set_subreaper(True)
        if not self._usable:
            self._log.warn("no child subreaper here: every engine is spawned")
            return
        self._reaper.start()
        self._first = True
        if preload:
            self._begin()

    def stop(self) -> Deferred[None]:
        """See `Launcher`."""
        if not self._usable:
            return succeed(None)
        self._usable = False
        self._again = _cancelled(self._again)
        self._let_go()
        for start in self._take_all():
            self._spawn_instead(start)
        ends = [zygote.end(END_SECONDS) for zygote in self._running]
        return DeferredList(ends).addCallback(self._ended)

    def _ended(self, _: object) -> None:
        self._running.clear()
        self._reaper.stop()
        reaper.set_subreaper(self._was_subreaper)

    def launch(self, protocol: LaunchProtocol, plan: Plan, inherited: dict[int, int]) -> None:
        """See `Launcher`; a forked process connects later."""
        if not (plan.preloaded and self._usable and self._can_ask()):
            self._spawn.launch(protocol, plan, inherited)
            return
        start = _Start.of(protocol, plan, inherited)
        number = next(self._numbers)
        assert self._zygote is not None
        try:
            self._zygote.ask(number, plan, {**start.pipes.theirs, **start.inherited})
        except (OSError, ValueError):
            # Its queue is full, or the message does not fit it.
            start.close()
            self._spawn.launch(protocol, plan, inherited)
            return
        start.pipes.close_theirs()
        self._starts[number] = start
        if self._deadline is None:
            self._expect(ANSWER_SECONDS)

    def _can_ask(self) -> bool:
        if self._zygote is None and self._again is None:
            self._begin()
        # The first one is worth waiting for; while it is replaced others are faster.
        return self._zygote is not None and (self._ready or self._first)

    # The zygote's life

    def _begin(self) -> None:
        self._again = None
        zygote = Zygote(self._reactor, self._room, heard=self._heard, lost=self._lose)
        try:
            zygote.start(self._paths)
        except OSError as error:
            self._replace(f"it cannot be started: {error.strerror}")
            return
        self._zygote = zygote
        self._running = [one for one in self._running if not one.gone]
        self._running.append(zygote)
        self._expect(READY_SECONDS)

    def _heard(self, zygote: Zygote, answer: Answer | None) -> None:
        if zygote is not self._zygote:
            return
        if answer is None:
            self._ready = True
            self._backoff.healthy(self._reactor.seconds())
        else:
            self._answered(answer)
        self._deadline = _cancelled(self._deadline)
        if self._starts:
            self._expect(ANSWER_SECONDS)

    def _expect(self, seconds: float) -> None:
        self._deadline = _cancelled(self._deadline)
        self._deadline = self._reactor.callLater(seconds, self._silent)

    def _silent(self) -> None:
        self._deadline = None
        zygote = self._zygote
        if zygote is not None:
            zygote.kill()
            self._lose(zygote, "it does not answer")

    def _lose(self, zygote: Zygote, why: str) -> None:
        if zygote is not self._zygote:
            return
        self._let_go()
        self._replace(why)
        for start in self._take_all():
            self._spawn_instead(start)

    def _let_go(self) -> None:
        self._zygote = None
        self._ready = False
        self._first = False
        self._deadline = _cancelled(self._deadline)

    def _replace(self, why: str) -> None:
        delay = self._backoff.failed(self._reactor.seconds())
        self._log.warn("the zygote is lost ({why}); engines are spawned meanwhile", why=why)
        self._again = self._reactor.callLater(delay, self._begin)

    # Starts

    def _answered(self, answer: Answer) -> None:
        start = self._starts.pop(answer.number, None)
        if start is None:
            return
        pid = answer.told
        if isinstance(pid, str) or not is_our_child(pid):
            why = pid if isinstance(pid, str) else f"process {pid} is not ours"
            self._log.warn(
                "{tenant}: the zygote did not fork it ({why})", tenant=start.plan.tenant, why=why
            )
            self._spawn_instead(start)
            return
        _close(start.inherited)
        Adopted(self._reactor, start.protocol, pid, start.pipes)

    def _take_all(self) -> list[_Start]:
        starts, self._starts = list(self._starts.values()), {}
        return starts

    def _spawn_instead(self, start: _Start) -> None:
        start.pipes.close()
        try:
            self._spawn.launch(start.protocol, start.plan, start.inherited)
        except (OSError, ValueError, TypeError) as error:
            start.protocol.launch_failed(error)
        finally:
            start.close()


def _cancelled(call: IDelayedCall | None) -> IDelayedCall | None:
    if call is not None and call.active():
        call.cancel()
    return None


def _close(descriptors: dict[int, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])
