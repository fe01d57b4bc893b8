"""`ssl:` endpoints: several strings of one port are one listener with several certificates."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress

from sqsuper.config.certificates import CertificateError, CertificateFiles
from sqsuper.config.endpoints import take_apart, without_tls
from sqsuper.gateway.certificates import Certificates, CertificateState
from sqsuper.gateway.handshakes import Handshakes
from sqsuper.gateway.nest import Nest
from sqsuper.gateway.nested import NestedWire
from sqsuper.gateway.tls import TlsWire
from sqsuper.gateway.wire import Wire, WireUser
from sqsuper.sockets.loop import Timer

# Twice fits into the 5 s within which a change is to be served.
LOOK_INTERVAL = 2.0

WireOf = Callable[[Nest, socket.socket], NestedWire]


class _Bound(Protocol):
    def address(self) -> IAddress: ...
    async def close(self) -> None: ...


# Binds a plain endpoint string, and makes a wire of each accepted socket.
Bind = Callable[
    [str, Callable[[Wire, str], WireUser], WireOf],
    Awaitable[_Bound],
]


class TlsUnavailableError(Exception):
    """TLS cannot be had here; the text says why."""


def is_tls(endpoint: str) -> bool:
    """Whether an endpoint string is one of `ssl:`, perhaps behind a wrapper."""
    try:
        return take_apart(endpoint, Path()).kind == "ssl"
    except ValueError:
        return False


def refusal(endpoint: str, reason: str) -> CannotListenError:
    """Return the error that says why an `ssl:` string cannot be served."""
    apart = take_apart(endpoint, Path())
    return CannotListenError(apart.interface, apart.port, TlsUnavailableError(reason))


def check_certificate(endpoint: str) -> None:
    """Raise CannotListenError if an `ssl:` string's certificate cannot be used."""
    if not is_tls(endpoint):
        return
    apart = take_apart(endpoint, Path())
    try:
        Certificates([CertificateFiles.of(apart)])
    except CertificateError as error:
        raise CannotListenError(apart.interface, apart.port, error) from None


class TlsPorts:
    """The TLS ports of one nest."""

    def __init__(self, nest: Nest, bind: Bind) -> None:
        self._nest = nest
        self._bind = bind
        self.handshakes = Handshakes(nest)
        self._ports: dict[tuple[str, int], _Port] = {}

    async def listen(
        self, endpoint: str, user_for: Callable[[Wire, str], WireUser]
    ) -> TlsListening:
        """Listen as an `ssl:` string says; one more of the same port adds its certificate.

        Raises CannotListenError, also when the certificate cannot be used.
        """
        apart = take_apart(endpoint, Path())
        if not endpoint.startswith("ssl:"):
            raise refusal(endpoint, "TLS is served without a wrapper before ssl: alone")
        assert apart.port is not None
        files = CertificateFiles.of(apart)
        place = (apart.interface, apart.port)
        port = self._ports.get(place)
        try:
            if port is not None:
                port.certificates.add(files)
                return TlsListening(port, files)
            certificates = Certificates([files])
        except CertificateError as error:
            raise CannotListenError(apart.interface, apart.port, error) from None

        def wire_of(nest: Nest, sock: socket.socket) -> TlsWire:
            return TlsWire(nest, sock, certificates.current, self.handshakes)

        bound = await self._bind(without_tls(apart), user_for, wire_of)
        port = _Port(self._nest, bound, certificates, lambda: self._ports.pop(place, None))
        if apart.port:
            self._ports[place] = port
        return TlsListening(port, files)


class TlsListening:
    """One `ssl:` string that is served."""

    def __init__(self, port: _Port, files: CertificateFiles) -> None:
        self._port: _Port | None = port
        self._files = files
        self._address = port.bound.address()

    def address(self) -> IAddress:
        """Return what it is bound to."""
        return self._address

    def certificate(self) -> CertificateState | None:
        """Return how its certificate is doing; None once it is closed."""
        states = self._port.certificates.states() if self._port is not None else ()
        return next((state for state in states if state.files == self._files), None)

    async def close(self) -> None:
        """Serve its certificate no longer; with the last one the port is unbound. Idempotent."""
        port, self._port = self._port, None
        if port is not None:
            await port.drop(self._files)


class _Port:
    def __init__(
        self, nest: Nest, bound: _Bound, certificates: Certificates, closed: Callable[[], object]
    ) -> None:
        self.bound = bound
        self.certificates = certificates
        self._nest = nest
        self._closed = closed
        self._timer: Timer = nest.later(LOOK_INTERVAL, self._look)

    async def drop(self, files: CertificateFiles) -> None:
        if len(self.certificates) > 1:
            self.certificates.remove(files)
            return
        self._timer.cancel()
        self._closed()
        await self.bound.close()

    def _look(self) -> None:
        self._timer = self._nest.later(LOOK_INTERVAL, self._look)
        self.certificates.look_again()
