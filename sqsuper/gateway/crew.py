"""The lives of the gateway's workers: started, asked whether they live, replaced, ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sqsuper.gateway.channel import Handler
from sqsuper.gateway.respawn import Respawn
from sqsuper.gateway.statistics import Lag
from sqsuper.gateway.worker_process import WorkerProcess

# Of a worker from its spawn to the word that it serves.
START_PATIENCE = 30.0
# A worker that does not answer so many pings in a row hangs: it is killed, and replaced. They
# are counted, so that no time counts in which this process did not run either.
PING_INTERVAL = 1.0
MISSED_PINGS = 5
# Until all workers have closed their listeners at the stop; one that hangs does not.
DEAF_PATIENCE = 1.0

log = Logger()


class WorkerError(Exception):
    """A worker did not come to serve: the start ends. The text is one line for people."""


class Owner(Protocol):
    """What the crew asks of who has it, and tells."""

    def begin(self, worker: WorkerProcess) -> None:
        """Start a worker, and tell it all that it serves by. Raises OSError."""

    def handlers(self, worker: WorkerProcess) -> Mapping[str, Handler]:
        """Return who takes what a worker says beyond its life, by kind."""

    def gone(self, number: int) -> None:
        """Learn that a worker has ended, before another takes its number."""


class Crew:
    """`count` workers; those that are there, when iterated over.

    `lag`: learns how late the pings are, and so this process' own event loop.
    """

    def __init__(
        self, count: int, owner: Owner, reactor: Any, lag: Lag, ping_interval: float
    ) -> None:
        self._owner = owner
        self._reactor = reactor
        self._lag = lag
        self._ping_interval = ping_interval
        self._processes: dict[int, WorkerProcess] = {}
        self._respawns = {number: Respawn() for number in range(count)}
        self._respawn_calls: dict[int, Any] = {}
        self._patience: dict[int, Any] = {}
        self._ping_call: Any = None
        self._pinged_at: float | None = None
        self._up: Deferred[None] | None = None
        self._all_deaf: Deferred[None] | None = None
        self._all_gone: Deferred[None] | None = None
        self._stop_calls: list[Any] = []
        self._stopping = False

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._processes.values()))

    def get(self, number: int) -> WorkerProcess | None:
        """Return the worker of that number, if it is there."""
        return self._processes.get(number)

    def say(self, kind: str, *facts: Any) -> None:
        """Tell all workers something."""
        for process in self:
            process.say(kind, *facts)

    def start(self) -> Deferred[None]:
        """Start all; fires when every one serves. Fails with WorkerError when one ends before."""
        up: Deferred[None] = Deferred()
        self._up = up
        for number in self._respawns:
            self._spawn(number)
        self._ping_call = self._reactor.callLater(self._ping_interval, self._ping)
        return up

    def stop(self, patience: float) -> tuple[Deferred[None], Deferred[None]]:
        """End all, and replace none from now on.

        Returns what fires when no worker listens any more, but for one that hangs, and what
        fires when none is left: what there is after `patience` seconds is killed.
        """
        self._stopping = True
        self._up = None
        for call in self._respawn_calls.values():
            _cancel(call)
        self._respawn_calls.clear()
        deaf: Deferred[None] = Deferred()
        gone: Deferred[None] = Deferred()
        self._all_deaf, self._all_gone = deaf, gone
        self.say("stop")
        self._stop_calls = [
            self._reactor.callLater(DEAF_PATIENCE, self._check_deaf, True),
            self._reactor.callLater(patience, self._kill_all),
        ]
        self._check_deaf()
        self._check_gone()
        return deaf, gone

    # worker_process.Owner

    def handlers(self, worker: WorkerProcess) -> Mapping[str, Handler]:
        """See `worker_process.Owner`."""
        return {
            "serving": lambda: self._serves(worker),
            "failed": lambda line: self._cannot_serve(worker, line),
            "deaf": lambda: self._is_deaf(worker),
            "pong": worker.answered,
            **self._owner.handlers(worker),
        }

    def ended(self, worker: WorkerProcess, how: str) -> None:
        """See `worker_process.Owner`."""
        if self._processes.get(worker.number) is worker:
            self._gone(worker, how)

    # Start

    def _spawn(self, number: int) -> None:
        self._respawn_calls.pop(number, None)
        process = WorkerProcess(number, self, self._reactor)
        self._processes[number] = process
        try:
            self._owner.begin(process)
        except OSError as error:
            self._gone(process, f"cannot be started: {error.strerror}")
            return
        self._patience[number] = self._reactor.callLater(START_PATIENCE, process.kill)

    def _serves(self, worker: WorkerProcess) -> None:
        worker.serving = True
        _cancel(self._patience.pop(worker.number, None))
        log.info("worker {number} serves (pid {pid})", number=worker.number, pid=worker.pid)
        up = self._up
        if up is not None and all(process.serving for process in self):
            self._up = None
            up.callback(None)

    def _cannot_serve(self, worker: WorkerProcess, line: str) -> None:
        self._not_up(line)
        worker.kill()

    def _not_up(self, line: str) -> None:
        up, self._up = self._up, None
        if up is not None:
            up.errback(WorkerError(line))

    # While they serve

    def _ping(self) -> None:
        self._ping_call = self._reactor.callLater(self._ping_interval, self._ping)
        now = self._reactor.seconds()
        if self._pinged_at is not None:
            self._lag.late(now - self._pinged_at - self._ping_interval, now)
        self._pinged_at = now
        for worker in self:
            if worker.serving and worker.missed >= MISSED_PINGS:
                log.error("worker {number} does not answer; it is killed", number=worker.number)
                worker.kill()
            elif worker.serving:
                worker.missed += 1
                worker.say("ping")

    def _gone(self, worker: WorkerProcess, how: str) -> None:
        number = worker.number
        del self._processes[number]
        _cancel(self._patience.pop(number, None))
        self._owner.gone(number)
        if self._stopping:
            self._check_deaf()
            self._check_gone()
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
        self._respawn_calls[number] = self._reactor.callLater(delay, self._spawn, number)

    # Stop

    def _is_deaf(self, worker: WorkerProcess) -> None:
        worker.deaf = True
        self._check_deaf()

    def _check_deaf(self, anyhow: bool = False) -> None:
        deaf = self._all_deaf
        if deaf is None or deaf.called:
            return
        if anyhow or all(process.deaf for process in self):
            deaf.callback(None)

    def _check_gone(self) -> None:
        gone = self._all_gone
        if gone is not None and not self._processes:
            self._all_gone = None
            for call in (*self._stop_calls, self._ping_call):
                _cancel(call)
            gone.callback(None)

    def _kill_all(self) -> None:
        for process in self:
            process.kill()


def _cancel(call: Any) -> None:
    if call is not None and call.active():
        call.cancel()
