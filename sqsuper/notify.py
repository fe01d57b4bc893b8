"""What a service manager is told (sd_notify), and how late the reactor is.

Nothing is sent where no socket was named in the environment; the measure is taken all the same.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

BEAT = 1.0
WINDOW = 60.0
MAX_STATUS = 1000


class ManagerSocket:
    """The datagram socket of a service manager; what it does not take is lost."""

    _log = Logger()

    def __init__(self, address: str) -> None:
        """`address`: a path, or an abstract name behind `@`."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._complained = False

    def send(self, *assignments: str) -> None:
        """Send lines such as `READY=1` in one message. Never waits, never raises."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(assignments).encode(errors="replace"), self._address)
        except (OSError, ValueError) as error:
            if not self._complained:
                self._complained = True
                self._log.warn("the service manager cannot be told: {error}", error=error)


@attrs.frozen
class Manager:
    """How the service manager wants to be told. `watchdog`: seconds within which, or None."""

    socket: ManagerSocket | None = None
    watchdog: float | None = None

    @classmethod
    def of(cls, environ: MutableMapping[str, str], pid: int) -> Manager:
        """Take it out of the environment, so that no child inherits it.

        `pid`: ours before twistd has daemonised, as WATCHDOG_PID would say.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        period = environ.pop("WATCHDOG_USEC", "")
        whose = environ.pop("WATCHDOG_PID", "")
        if address[:1] not in ("/", "@") or len(address) < 2:
            return cls()
        watchdog = None
        if period.isascii() and period.isdigit() and int(period) and whose in ("", str(pid)):
            watchdog = int(period) / 1e6
        return cls(ManagerSocket(address), watchdog)


class Lag:
    """The worst of what was late within about the last `WINDOW` seconds; no I/O."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._before = 0.0
        self._now = 0.0

    def was(self, late: float, now: float) -> None:
        """Something that was due `late` seconds ago is done at `now`."""
        if self._began is None or now - self._began >= WINDOW:
            self._before = self._now
            self._now = 0.0
            self._began = now
        self._now = max(self._now, late)

    @property
    def worst(self) -> float:
        """Seconds."""
        return max(self._before, self._now)


class Heartbeat(Service):
    """Measures how late the reactor is, and says that we live while it runs.

    The first part to start and the last to stop: a long stop is not a hang.
    """

    def __init__(self, manager: Manager, *, reactor: Any) -> None:
        self.lag = Lag()
        self._manager = manager
        self._reactor = reactor
        watchdog = manager.watchdog
        self._interval = BEAT if watchdog is None else min(BEAT, watchdog / 4)
        self._told_at: float | None = None
        self._due = 0.0
        self._call: IDelayedCall | None = None
        self.beats: list[Callable[[], None]] = []
        """Called at each beat: what is not worth a timer of its own."""

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._next()

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _next(self) -> None:
        self._due = self._reactor.seconds() + self._interval
        self._call = self._reactor.callLater(self._interval, self._beat)

    def _beat(self) -> None:
        now = self._reactor.seconds()
        self.lag.was(max(0.0, now - self._due), now)
        self._next()
        self._live(now)
        for call in tuple(self.beats):
            call()

    def _live(self, now: float) -> None:
        watchdog, manager = self._manager.watchdog, self._manager.socket
        if watchdog is None or manager is None:
            return
        # At half of the time at latest: the next beat may be past it.
        if self._told_at is None or now - self._told_at + self._interval > watchdog / 2:
            self._told_at = now
            manager.send("WATCHDOG=1")


class Announcement(Service):
    """Tells the service manager that we are ready, how it goes, and that we stop.

    The last part to start and the first to stop. Each of `sayings` gives some words for
    people, or none; they are asked at each beat and sent together when they have changed.
    """

    def __init__(
        self,
        manager: Manager,
        sayings: Iterable[Callable[[], str]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sayings = list(sayings)
        self._manager = manager
        self._monotonic = monotonic
        self._said = ""

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        # twistd may have daemonised: then we are not whom the manager started.
        self._said = self._line()
        self._send("READY=1", f"MAINPID={os.getpid()}", f"STATUS={self._said}")

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        self._send("STOPPING=1", "STATUS=stopping")

    def beat(self) -> None:
        """Tell the status if it has changed."""
        if self.running and self._manager.socket is not None:
            line = self._line()
            if line != self._said:
                self._said = line
                self._send(f"STATUS={line}")

    def reloading(self) -> None:
        """A reload begins; `reloaded` must follow."""
        if self.running:
            self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._monotonic() * 1e6)}")

    def reloaded(self) -> None:
        """A reload is over, well or not: the status says how."""
        if self.running:
            self._said = self._line()
            self._send("READY=1", f"STATUS={self._said}")

    def _line(self) -> str:
        if self._manager.socket is None:
            return ""
        said = [" ".join(saying().split()) for saying in self.sayings]
        return "; ".join(filter(None, said))[:MAX_STATUS]

    def _send(self, *assignments: str) -> None:
        if self._manager.socket is not None:
            self._manager.socket.send(*assignments)
