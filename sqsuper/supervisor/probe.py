"""Whether a command engine answers: a real request on a connection of its own, repeated."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure

INTERVAL = 0.025
MAX_HEAD = 1024

# RFC 9112, 4: status-line = HTTP-version SP status-code SP [ reason-phrase ]
_STATUS_LINE = re.compile(rb"HTTP/[0-9]\.[0-9] [1-5][0-9]{2}[ \r\n]")


class _Question(Protocol):
    """One request; the factory's owner hears of an answer, or of the connection's end."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._received = b""

    def connectionMade(self) -> None:
        # OPTIONS is answered before authentication, lock or disk: no side effect.
        self.transport.write(  # type: ignore[union-attr]
            b"OPTIONS / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n"
            % self._probe.port
        )

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if _STATUS_LINE.match(self._received):
            self._probe.answered()
            self.transport.loseConnection()  # type: ignore[union-attr]
        elif len(self._received) > MAX_HEAD:
            self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._probe.unanswered()


class Probe(ClientFactory):
    """Asks `127.0.0.1:port` each `INTERVAL` seconds until an answer comes or `stop`."""

    noisy = False

    def __init__(self, reactor: Any, port: int, timeout: float, ready: Callable[[], None]) -> None:
        """`timeout`: seconds for one answer; `ready` is called once."""
        self.port = port
        self._reactor = reactor
        self._timeout = timeout
        self._ready = ready
        self._over = False
        self._again: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None
        self._connector: Any = None

    def start(self) -> None:
        """Ask for the first time."""
        self._again = None
        self._deadline = self._reactor.callLater(self._timeout, self._give_up)
        self._connector = self._reactor.connectTCP("127.0.0.1", self.port, self, self._timeout)

    def stop(self) -> None:
        """Ask no more. Idempotent."""
        self._over = True
        for call in (self._again, self._deadline):
            if call is not None and call.active():
                call.cancel()
        self._again = self._deadline = None
        connector, self._connector = self._connector, None
        if connector is not None:
            connector.disconnect()

    def buildProtocol(self, addr: object) -> Protocol:
        return _Question(self)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.unanswered()

    def answered(self) -> None:
        """Take an answer to a question."""
        if not self._over:
            self._connector = None
            self.stop()
            self._ready()

    def unanswered(self) -> None:
        """Take the end of a connection; ask again unless it is over."""
        if self._over or self._again is not None:
            return
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = self._connector = None
        self._again = self._reactor.callLater(INTERVAL, self.start)

    def _give_up(self) -> None:
        self._deadline = None
        if self._connector is not None:
            self._connector.disconnect()  # its end brings the next question
