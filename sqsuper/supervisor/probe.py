"""Whether a command engine answers: a real request on a connection of its own."""

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


class _Asking(Protocol):
    """The connection of a question, which hears of an answer or of the connection's end."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._received = b""

    def connectionMade(self) -> None:
        # OPTIONS is answered before authentication, lock or disk: no side effect.
        self.transport.write(  # type: ignore[union-attr]
            b"OPTIONS / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n"
            % self._question.port
        )

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if _STATUS_LINE.match(self._received):
            self._question.over(True)
            self.transport.loseConnection()  # type: ignore[union-attr]
        elif len(self._received) > MAX_HEAD:
            self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._question.over(False)


class Question(ClientFactory):
    """One request to `127.0.0.1:port`, sent at once.

    `told(answered)` is called once, unless `cancel` comes before: with True when the head of an
    answer begins, with False when the connection is refused or ends without. It may take
    forever: cancel it then.
    """

    noisy = False

    def __init__(self, reactor: Any, port: int, told: Callable[[bool], None]) -> None:
        self.port = port
        self._told: Callable[[bool], None] | None = told
        self._connector = reactor.connectTCP("127.0.0.1", port, self, timeout=None)

    def cancel(self) -> None:
        """Ask no longer. Idempotent."""
        if self._told is not None:
            self._told = None
            self._connector.disconnect()

    def over(self, answered: bool) -> None:
        """Take what came of it; only the first counts."""
        told, self._told = self._told, None
        if told is not None:
            told(answered)

    def buildProtocol(self, addr: object) -> Protocol:
        return _Asking(self)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.over(False)


class Probe:
    """Asks `127.0.0.1:port` each `INTERVAL` seconds until an answer comes or `stop`."""

    def __init__(self, reactor: Any, port: int, timeout: float, ready: Callable[[], None]) -> None:
        """`timeout`: seconds for one answer; `ready` is called once."""
        self._port = port
        self._reactor = reactor
        self._timeout = timeout
        self._ready = ready
        self._question: Question | None = None
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Ask for the first time."""
        self._call = self._reactor.callLater(self._timeout, self._unanswered)
        self._question = Question(self._reactor, self._port, self._told)

    def stop(self) -> None:
        """Ask no more. Idempotent."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        question, self._question = self._question, None
        if question is not None:
            question.cancel()

    def _told(self, answered: bool) -> None:
        if answered:
            self.stop()
            self._ready()
        else:
            self._unanswered()

    def _unanswered(self) -> None:
        self.stop()
        self._call = self._reactor.callLater(INTERVAL, self.start)
