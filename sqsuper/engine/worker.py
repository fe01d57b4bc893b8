"""A thread for what takes long outside the loop: writing and syncing files."""

from __future__ import annotations

import os
import sys
from _queue import SimpleQueue  # what queue and threading are made of, without their start time
from _thread import allocate_lock, start_new_thread
from collections import deque
from contextlib import suppress

from sqsuper.engine.turns import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.engine.turns import Job
    from sqsuper.sockets import Loop

    Outcome = Callable[[BaseException | None], None]

# The loop's thread waits no longer than this for the interpreter while another one computes.
_SWITCH_SECONDS = 0.0005


class Worker:
    """One thread, started with its first job. All methods are the loop's thread's to call.

    A job is called in the thread, and again, after others that wait, while it returns True;
    `done` is then called in the loop with None or what it raised.
    """

    __slots__ = ("_ended", "_finished", "_jobs", "_loop", "_read", "_waiting", "_write")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[tuple[Callable[[], object], Outcome] | None] = SimpleQueue()
        self._finished: deque[tuple[Outcome, BaseException | None]] = deque()
        self._ended = allocate_lock()
        self._waiting = 0
        self._read = self._write = -1

    @property
    def started(self) -> bool:
        """Whether the thread runs."""
        return self._read >= 0

    @property
    def busy(self) -> bool:
        """Whether the outcome of a job is outstanding."""
        return self._waiting > 0

    def submit(self, job: Callable[[], object], done: Outcome) -> None:
        """Run a job behind those that wait."""
        if self._read < 0:
            self._start()
        self._waiting += 1
        self._jobs.put((job, done))

    def run(self, job: Callable[[], object]) -> Job[None]:
        """Run a job and wait for it. Raises what it raised."""
        gate = Gate()
        outcome: list[BaseException | None] = []

        def done(error: BaseException | None) -> None:
            outcome.append(error)
            gate.open()

        self.submit(job, done)
        while not outcome:
            yield gate
        if outcome[0] is not None:
            raise outcome[0]

    def close(self) -> None:
        """End the thread when its jobs are done, waiting for it, and make their `done` calls."""
        if self._read < 0:
            return
        self._jobs.put(None)
        self._ended.acquire()
        self._ended.release()
        self._loop.unregister(self._read)
        self._deliver()
        os.close(self._read)
        os.close(self._write)
        self._read = self._write = -1

    def readable(self) -> None:
        """Take what is finished (for the loop)."""
        with suppress(BlockingIOError):
            os.read(self._read, 4096)
        self._deliver()

    def writable(self) -> None:
        """Never asked for."""

    def hung_up(self) -> None:
        """Never: both ends are ours."""

    def _deliver(self) -> None:
        while self._finished:
            done, error = self._finished.popleft()
            self._waiting -= 1
            done(error)

    def _start(self) -> None:
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._loop.register(self._read, self)
        self._ended.acquire()
        start_new_thread(self._run, ())

    def _run(self) -> None:
        ending = False
        while True:
            entry = self._jobs.get()
            if entry is None:
                if self._jobs.empty():
                    break
                # A job that was put back behind the end
                ending = True
                continue
            job, done = entry
            failure: BaseException | None = None
            try:
                if job() is True:
                    self._jobs.put(entry)
                    continue
            except BaseException as error:
                failure = error
            self._finished.append((done, failure))
            # Nothing of a job that is done is kept until the next one comes.
            del entry, job, done, failure
            with suppress(BlockingIOError):
                # A full pipe wakes the loop as well.
                os.write(self._write, b"\0")
            if ending and self._jobs.empty():
                break
        self._ended.release()
