"""A thread for what takes long outside the loop: writing and syncing files."""

from __future__ import annotations

import sys
from _queue import SimpleQueue  # what queue and threading are made of, without their start time
from _thread import allocate_lock, start_new_thread
from collections import deque

from sqsuper.engine.turns import Gate
from sqsuper.sockets.wakeup import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
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

    __slots__ = ("_ended", "_finished", "_jobs", "_loop", "_waiting", "_wakeup")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        # Made with the thread: most workers never have a job.
        self._jobs: SimpleQueue[tuple[Callable[[], object], Outcome] | None]
        self._finished: deque[tuple[Outcome, BaseException | None]]
        self._ended: LockType
        self._waiting = 0
        self._wakeup: Wakeup | None = None

    @property
    def started(self) -> bool:
        """Whether the thread runs."""
        return self._wakeup is not None

    @property
    def busy(self) -> bool:
        """Whether the outcome of a job is outstanding."""
        return self._waiting > 0

    def submit(self, job: Callable[[], object], done: Outcome) -> None:
        """Run a job behind those that wait."""
        if self._wakeup is None:
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
        if self._wakeup is None:
            return
        self._jobs.put(None)
        self._ended.acquire()
        self._ended.release()
        self._deliver(b"")
        self._wakeup.close()
        self._wakeup = None

    def _deliver(self, _: bytes) -> None:
        while self._finished:
            done, error = self._finished.popleft()
            self._waiting -= 1
            done(error)

    def _start(self) -> None:
        self._jobs = SimpleQueue()
        self._finished = deque()
        self._ended = allocate_lock()
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._wakeup = Wakeup(self._loop, self._deliver)
        self._ended.acquire()
        start_new_thread(self._run, (self._wakeup,))

    def _run(self, wakeup: Wakeup) -> None:
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
            wakeup.wake()
            if ending and self._jobs.empty():
                break
        self._ended.release()
