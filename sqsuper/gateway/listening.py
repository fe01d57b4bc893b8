"""Where the gateway listens: every endpoint string, over the fastest wires it can have."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import tcp
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.logger import Logger

from sqsuper.gateway.dialing import NestedConnector
from sqsuper.gateway.nest import Nest, possible
from sqsuper.gateway.nested import NestedWire
from sqsuper.gateway.tls_listening import TlsPorts, WireOf, is_tls, refusal
from sqsuper.gateway.transports import ListenFactory, TransportConnector
from sqsuper.gateway.wire import Connector, Wire, WireUser
from sqsuper.passed_sockets import server_endpoint
from sqsuper.sockets.listener import BATCH, Listener

# Twisted's default is small for thousands of clients; any other number is the operator's.
TWISTED_BACKLOG = 50
BACKLOG = 1024
# Of the line that says that descriptors ran out.
LOG_INTERVAL = 60.0
NO_TLS = "TLS needs a loop of our own, over epoll, which is not used here; use tcp:"

# Given a new connection and its peer's address, which is empty on a Unix socket.
UserFor = Callable[[Wire, str], WireUser]

log = Logger()


class Listening(Protocol):
    """One bound endpoint."""

    def address(self) -> IAddress:
        """Return what it is bound to."""

    async def close(self) -> None:
        """Accept no more, and unbind. Raises what the reactor does."""


class Wires(Protocol):
    """One implementation of the gateway's wires."""

    @property
    def connector(self) -> Connector: ...
    async def listen(self, endpoint: str, user_for: UserFor) -> Listening:
        """Bind an endpoint string and give each connection to `user_for(wire, peer)`.

        Raises what Twisted does: CannotListenError and its like.
        """

    def close(self) -> None:
        """End, with a reset, every connection that is left."""


def wires_for(reactor: Any, nested: bool | None = None) -> Wires:
    """Return the wires to use; `nested` forces own sockets (or, False, Twisted's transports).

    To be called in the process that will run the reactor: see `Nest`.
    """
    if possible(reactor) if nested is None else nested:
        return NestedWires(reactor)
    return TransportWires(reactor)


class TransportWires:
    """Everything over Twisted's transports."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.connector: Connector = TransportConnector(reactor)

    async def listen(self, endpoint: str, user_for: UserFor) -> Listening:
        """See `Wires.listen`."""
        if is_tls(endpoint):
            raise refusal(endpoint, NO_TLS)
        port = await server_endpoint(self._reactor, endpoint).listen(ListenFactory(user_for))
        return _TransportListening(port)

    def close(self) -> None:
        """See `Wires.close`. Transports are the reactor's: it ends them."""


class _TransportListening:
    def __init__(self, port: IListeningPort) -> None:
        self._port = port

    def address(self) -> IAddress:
        return self._port.getHost()

    async def close(self) -> None:
        await maybeDeferred(self._port.stopListening)


class NestedWires:
    """TCP, TLS and Unix sockets in the nested loop, all other endpoints over transports.

    Twisted binds every endpoint, so that options, errors, stale files of Unix sockets and
    descriptors of systemd are as everywhere; what it bound is then accepted from here.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._nest = Nest(reactor)
        self.connector: Connector = NestedConnector(self._nest)
        self._tls = TlsPorts(self._nest, self._bind)
        self._logged: float | None = None

    async def listen(self, endpoint: str, user_for: UserFor) -> Listening:
        """See `Wires.listen`."""
        if is_tls(endpoint):
            return await self._tls.listen(endpoint, user_for)
        return await self._bind(endpoint, user_for, NestedWire)

    async def _bind(self, endpoint: str, user_for: UserFor, wire_of: WireOf) -> Listening:
        factory = ListenFactory(user_for)
        port = await server_endpoint(self._reactor, endpoint).listen(factory)
        # Any other factory: something (TLS, a proxy's protocol) stands between it and ours.
        if isinstance(port, tcp.Port) and port.factory is factory:
            return _NestedListening(self._nest, port, user_for, wire_of, self._exhausted)
        return _TransportListening(port)

    def close(self) -> None:
        """See `Wires.close`."""
        self._nest.close()

    def _exhausted(self, error: OSError) -> None:
        now = self._reactor.seconds()
        if self._logged is None or now - self._logged >= LOG_INTERVAL:
            self._logged = now
            log.warn("no connection is accepted for now: {reason}", reason=error.strerror)


class _NestedListening:
    """A port of Twisted's that is not read by its reactor, but by the nest."""

    def __init__(
        self,
        nest: Nest,
        port: tcp.Port,
        user_for: UserFor,
        wire_of: WireOf,
        exhausted: Callable[[OSError], None],
    ) -> None:
        port.stopReading()
        self._nest = nest
        self._port = port
        self._user_for = user_for
        self._wire_of = wire_of
        self._log_exhausted = exhausted
        # A descriptor of its own: either side closes what it opened.
        sock = port.socket.dup()
        # Python makes an enum's member each time it is asked.
        self._addressed = sock.family != socket.AF_UNIX
        if self._addressed:
            # With epoll it is Linux, where what is accepted inherits this.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if port.backlog == TWISTED_BACKLOG:
            sock.listen(BACKLOG)
        batch = min(BATCH, port.numberAccepts)
        self._listener = Listener(nest.loop, sock, self._accepted, self._exhausted, batch)

    def address(self) -> IAddress:
        address: IAddress = self._port.getHost()
        return address

    async def close(self) -> None:
        self._listener.close()
        await maybeDeferred(self._port.stopListening)

    def _accepted(self, sock: socket.socket) -> None:
        try:
            peer = sock.getpeername()[0] if self._addressed else ""
        except OSError:
            # It is gone again.
            sock.close()
            return
        wire = self._wire_of(self._nest, sock)
        try:
            wire.begin(self._user_for(wire, peer))
        except Exception:
            log.failure("a connection was not taken")
            wire.abort()

    def _exhausted(self, error: OSError) -> None:
        self._log_exhausted(error)
        self._nest.starved(self._listener.room)
