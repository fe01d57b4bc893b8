"""SIGUSR1: every log is opened anew, so that whoever rotates them may rename them first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from twisted.logger import Logger, LogPublisher, globalLogPublisher
from twisted.python.logfile import BaseLogFile

log = Logger()


class CallsInItsThread(Protocol):
    """What a reopening needs of a reactor."""

    def callFromThread(self, call: Callable[[], object]) -> object: ...


class Reopening:
    """Opens twistd's own log file anew, and calls `others`, which do so with their logs."""

    def __init__(
        self,
        others: Sequence[Callable[[], None]],
        *,
        reactor: CallsInItsThread,
        publisher: LogPublisher = globalLogPublisher,
    ) -> None:
        self._others = tuple(others)
        self._reactor = reactor
        self._publisher = publisher

    def install(self) -> None:
        """Take SIGUSR1, for good; nothing happens where there is none, or outside the main thread.

        To be called before twistd begins its log: it takes the signal for a rotation of its own
        when nobody has it yet, and leaves it to us otherwise.
        """
        if hasattr(signal, "SIGUSR1") and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, self._signalled)

    def _signalled(self, number: int, frame: Any) -> None:
        self._reactor.callFromThread(self.reopen)

    def reopen(self) -> None:
        """Open every log anew; one that cannot be opened goes on as it was."""
        for file in log_files(self._publisher):
            try:
                # It closes the old file first: nothing could be logged any more if that failed.
                probe = os.open(file.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                os.close(probe)
                file.reopen()
            except OSError as error:
                log.error("{path} was not opened anew: {error}", path=file.path, error=error)
        for other in self._others:
            try:
                other()
            except Exception:
                log.failure("a log was not opened anew")
        log.info("the logs were opened anew")


def log_files(publisher: LogPublisher) -> Iterator[BaseLogFile]:
    """Yield the files that observers of `publisher` write: twistd's, unless it is a stream.

    Twisted names neither its observers nor their files in public.
    """
    for observer in publisher._observers:
        # One of the older kind is a method of an object that keeps the file's `write`.
        older = getattr(getattr(observer, "legacyObserver", None), "__self__", None)
        file = getattr(
            observer, "_outFile", getattr(getattr(older, "write", None), "__self__", None)
        )
        if isinstance(file, BaseLogFile):
            yield file
