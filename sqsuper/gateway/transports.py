"""Wires made of Twisted transports."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sqsuper.gateway.outgoing import in_kernel
from sqsuper.gateway.wire import Wire, WireUser, send_read
from sqsuper.instances import Upstream

CONNECT_TIMEOUT = 10

# A full backlog, or too few descriptors, ports or memory: all of them pass.
_TRY_AGAIN = frozenset(
    {errno.EAGAIN, errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
)


@implementer(IHalfCloseableProtocol, IPushProducer)
class TransportWire(Protocol):
    """A wire over one Twisted stream transport (TCP or Unix)."""

    # Any: Twisted's interfaces split what every stream transport offers over several types.
    transport: Any

    def __init__(self, user_for: Callable[[Wire], WireUser]) -> None:
        self._user_for = user_for
        self._congested = False
        self._read_ended = False
        self._user: WireUser | None = None

    def connectionMade(self) -> None:
        if not isinstance(self.transport.getHost(), UNIXAddress):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        try:
            self._user = self._user_for(self)
        except Exception:
            self.abort()
            raise

    def dataReceived(self, data: bytes) -> None:
        if self._user is not None:
            self._user.received(data)

    def readConnectionLost(self) -> None:
        self._read_ended = True
        if self._user is not None:
            self._user.ended()

    def writeConnectionLost(self) -> None:
        if self._user is not None:
            self._user.drained()

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        user, self._user = self._user, None
        if user is not None:
            user.lost()

    def pauseProducing(self) -> None:
        self._congested = True

    def resumeProducing(self) -> None:
        self._congested = False
        if self._user is not None:
            self._user.drained()

    def stopProducing(self) -> None:
        pass

    @property
    def pending(self) -> int:
        transport = self.transport
        # Twisted keeps what waits in two places, and tells of neither.
        waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return waiting

    def untaken(self) -> int:
        sock = getattr(self.transport, "socket", None)
        # Without a socket Twisted has let go of it.
        return self.pending + in_kernel(sock) if sock is not None else 0

    def send(self, data: bytes) -> bool:
        self.transport.write(data)
        return not self._congested

    def send_file(self, fd: int, offset: int, count: int) -> tuple[int, bool]:
        return send_read(self, fd, offset, count)

    def pause(self) -> None:
        self.transport.pauseProducing()

    def resume(self) -> None:
        # Twisted would put a descriptor at its end back into its reactor.
        if not self._read_ended:
            self.transport.resumeProducing()

    def finish(self) -> None:
        self._let_go()
        self.transport.loseWriteConnection()

    def send_last(self, data: bytes) -> None:
        self.send(data)
        self.finish()

    def close(self) -> None:
        self._let_go()
        self.transport.loseConnection()

    def discard(self) -> None:
        self._user = None
        self.close()

    def abort(self) -> None:
        self._let_go()
        self.transport.abortConnection()

    def alive(self) -> bool:
        try:
            self.transport.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except (AttributeError, OSError):
            # AttributeError: Twisted has let go of the socket.
            return False
        return False

    def _let_go(self) -> None:
        # A transport that still has its producer would wait for it before it closes.
        self.transport.unregisterProducer()


class ListenFactory(Factory):
    """Gives each accepted connection to `user_for(wire, peer)`."""

    noisy = False

    def __init__(self, user_for: Callable[[Wire, str], WireUser]) -> None:
        self._user_for = user_for

    def logPrefix(self) -> str:
        """Return what Twisted's line on a new port begins with: no class is known to users."""
        return "gateway"

    def buildProtocol(self, addr: IAddress | None) -> TransportWire:
        peer = getattr(addr, "host", None) or ""
        wire = TransportWire(lambda wire: self._user_for(wire, peer))
        wire.factory = self
        return wire


class _UpstreamFactory(ClientFactory):
    noisy = False

    def __init__(
        self, connected: Callable[[Wire], WireUser], failed: Callable[[bool], None]
    ) -> None:
        self._connected = connected
        self._failed = failed
        self.cancelled = False

    def buildProtocol(self, addr: IAddress | None) -> TransportWire | None:
        return None if self.cancelled else TransportWire(self._connected)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        if not self.cancelled:
            self._failed(getattr(reason.value, "osError", None) in _TRY_AGAIN)


class TransportConnector:
    """Opens connections to instances as transports of the reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def connect(
        self,
        upstream: Upstream,
        connected: Callable[[Wire], WireUser],
        failed: Callable[[bool], None],
    ) -> Callable[[], None]:
        """See `Connector.connect`."""
        if upstream.path is not None:
            return self._connect_unix(upstream.path, connected, failed)
        factory = _UpstreamFactory(connected, failed)
        connector = self._reactor.connectTCP(
            upstream.host, upstream.port, factory, timeout=CONNECT_TIMEOUT
        )

        def cancel() -> None:
            factory.cancelled = True
            if connector.state == "connecting":
                connector.stopConnecting()

        return cancel

    def send_at_once(self, upstream: Upstream, data: bytes, user: WireUser) -> None:
        """See `Connector.send_at_once`: a transport is connected in a later turn."""
        return

    def _connect_unix(
        self, path: str, connected: Callable[[Wire], WireUser], failed: Callable[[bool], None]
    ) -> Callable[[], None]:
        # Such a connect is over at once, and Twisted's own does not tell a full backlog
        # (EAGAIN) from a refusal.
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                sock.connect(path)
                self._reactor.adoptStreamConnection(
                    sock.fileno(), socket.AF_UNIX, ListenFactory(lambda wire, _: connected(wire))
                )
        except OSError as error:
            failed(error.errno in _TRY_AGAIN)
        return _nothing


def _nothing() -> None:
    pass
