"""How a start under twistd ends: what the terminal reads, the exit status, and what is stopped.

twistd knows one way for a service to fail at its start, an exception out of `startService`: it
prints a traceback, and when it daemonises, its parent gets no more than 100 bytes of it. It
knows none for what fails later. Here both end alike: one line on the standard error that the
program was started with, everything stopped in order, status 1, no pid file left.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()

# twistd's parent reads at most 100 bytes from the status pipe: "1 " and this.
SEE_ABOVE = b"1 the line above"


class Stoppable(Protocol):
    """What a launch needs of a reactor."""

    def callWhenRunning(self, call: Callable[[], object]) -> object: ...

    def stop(self) -> None: ...


class Launch:
    """Tells whoever ran twistd how the start went. One outcome is told, the first.

    `twistd` is twistd's own options: its `statusPipe`, there once it has daemonised, is what
    its waiting parent reads. Made before twistd forks, while standard error is the caller's.
    """

    def __init__(
        self,
        twistd: MutableMapping[str, Any],
        *,
        at_exit: Callable[[Callable[[], None]], object] = atexit.register,
        exit_now: Callable[[int], object] = os._exit,
    ) -> None:
        self._twistd = twistd
        self._at_exit = at_exit
        self._exit_now = exit_now
        self._told = False
        self._pipe: int | None = None
        self._stderr: int | None = None
        with suppress(OSError):  # a caller may have closed it
            self._stderr = os.dup(2)

    def hold(self) -> None:
        """Take twistd's status pipe, so that twistd does not report a success too early."""
        if self._pipe is None:
            self._pipe = self._twistd.get("statusPipe")
            self._twistd["statusPipe"] = None

    def succeeded(self) -> None:
        """Tell that the service is up: twistd's parent, if there is one, ends with status 0."""
        self._told = True
        self._close_stderr()
        self._answer(b"0")

    def failed(self, line: str) -> None:
        """Tell `line`, one line for people, and end this process with status 1 when it ends.

        twistd's parent learns of it only then, when this process has cleaned up behind itself.
        """
        if self._told:
            return
        self._told = True
        if self._stderr is not None:
            with suppress(OSError):
                os.write(self._stderr, f"sqsuper: {line}\n".encode(errors="backslashreplace"))
        self._close_stderr()
        self._at_exit(self._exit)

    def killed(self) -> None:
        """Tell at once what would be told when this process ends: a signal will end it.

        twistd then kills itself, without what Python does at its exit, and its parent would
        wait for ever: it keeps its own end of the pipe open for writing.
        """
        self._answer(SEE_ABOVE)

    def _exit(self) -> None:
        self._answer(SEE_ABOVE)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        # twistd itself would return 0 here, and has no way to be told otherwise.
        self._exit_now(1)

    def _answer(self, answer: bytes) -> None:
        if self._pipe is not None:
            with suppress(OSError):
                os.write(self._pipe, answer)
            with suppress(OSError):
                os.close(self._pipe)
            self._pipe = None

    def _close_stderr(self) -> None:
        # A daemon that kept it would keep its caller's pipe or terminal open.
        if self._stderr is not None:
            os.close(self._stderr)
            self._stderr = None


class Tree(Service):
    """Starts `parts` one after another, and stops them in the opposite order, one at a time.

    A part's `startService` may return a Deferred: the next part starts when it has fired. When
    a part fails, now or later, `explain` makes the line that `launch` tells, what has begun is
    stopped, and the reactor with it. `stopService` gives a Deferred that fires when the last
    part is gone.
    """

    def __init__(
        self,
        parts: Sequence[IService],
        *,
        launch: Launch,
        explain: Callable[[Exception], str | None],
        reactor: Stoppable,
    ) -> None:
        """`explain` gives None for an exception that it does not know: a fault of the program."""
        self.parts = tuple(parts)
        self._launch = launch
        self._explain = explain
        self._reactor = reactor
        self._begun: list[IService] = []
        self._starting: Deferred[None] | None = None
        self._failure: Failure | None = None

    def privilegedStartService(self) -> None:
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._launch.hold()
        for part in self.parts:
            self._begin(part)
            try:
                part.privilegedStartService()
            except Exception:
                self._failure = Failure()
                return

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._launch.hold()
        self._starting = self._start()
        self._starting.addCallbacks(lambda _: self._launch.succeeded(), self._failed)

    @inlineCallbacks
    def stopService(self) -> Any:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._starting is not None:
            self._starting.cancel()
        for part in reversed(self._begun):
            try:
                yield maybeDeferred(part.stopService)
            except Exception:
                log.failure("stopping {part} failed", part=part)
        self._begun.clear()
        self._launch.failed("stopped before it was up")
        if getattr(self._reactor, "_exitSignal", None) is not None:
            self._launch.killed()

    @inlineCallbacks
    def _start(self) -> Any:
        if self._failure is not None:
            self._failure.raiseException()
        for part in self.parts:
            self._begin(part)
            yield maybeDeferred(part.startService)

    def _begin(self, part: IService) -> None:
        if part not in self._begun:
            self._begun.append(part)

    def _failed(self, failure: Failure) -> None:
        if not self.running and failure.check(CancelledError):
            return
        error = cast("Exception", failure.value)
        line = self._explain(error)
        if line is None:
            log.failure("the start failed", failure)
            line = f"cannot start: {error!r} (the log has more)"
        else:
            log.error("cannot start: {line}", line=line)
        self._launch.failed(line)
        self._reactor.callWhenRunning(self._stop)

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):
            self._reactor.stop()
