"""SIGHUP: the configuration is read again, unless it is the terminal that is gone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Protocol

from twisted.application.service import Service


class CallsInItsThread(Protocol):
    """What a hangup needs of a reactor."""

    def callFromThread(self, call: Callable[[], object]) -> object: ...


def has_terminal() -> bool:
    """Whether this process has a controlling terminal now."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class Hangup(Service):
    """Calls `reload` at a SIGHUP; in the foreground of a terminal that is gone, `stop`.

    The system sends the same signal for both. A process that had a terminal when it began to
    serve, and has none when the signal comes, was left by its user.
    """

    def __init__(
        self,
        reload: Callable[[], object],
        stop: Callable[[], object],
        *,
        reactor: CallsInItsThread,
        has_terminal: Callable[[], bool] = has_terminal,
    ) -> None:
        self._reload = reload
        self._stop = stop
        self._reactor = reactor
        self._has_terminal = has_terminal
        self._had_terminal = False

    def install(self) -> None:
        """Take the signal, for good; nothing happens where there is none.

        Whoever has it ignored (nohup) is not overruled, nor is another thread than the main.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._signalled)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        # No earlier: a daemon leaves the terminal that it was started from.
        self._had_terminal = self._has_terminal()

    def _signalled(self, number: int, frame: Any) -> None:
        self._reactor.callFromThread(self.hung_up)

    def hung_up(self) -> None:
        """Do what the signal means."""
        if self._had_terminal and not self._has_terminal():
            self._stop()
        else:
            self._reload()
