"""Listening sockets that several processes share: bound in one, accepted from in others.

Twisted binds them, by the endpoint strings, so that options and errors are as everywhere. A
worker then runs the same endpoint strings over `InheritingReactor`, which binds nothing: it
gives out what was inherited.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import tcp, unix
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory, ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from sqsuper.config.endpoints import take_apart
from sqsuper.passed_sockets import PassedSocketError, server_endpoint

TWISTED_BACKLOG = 50
BACKLOG = 1024
# In one turn: whoever is awake first must not take all that wait.
ACCEPTS = 1

log = Logger()


class UnsharableError(Exception):
    """An endpoint that several workers cannot share. `endpoint`: its string."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            f"gateway.workers: {endpoint!r} cannot be shared by several workers; set workers to 1"
        )
        self.endpoint = endpoint


@attrs.frozen
class Place:
    """What was bound, as the reactor was asked: a port and an interface, or a path.

    `path` is None but for Unix sockets; `port` is the number asked for.
    """

    port: int
    interface: str
    path: str | None = None


@attrs.frozen
class SharedPort:
    """One listening socket of ours, not read by our reactor."""

    place: Place
    port: Any

    def fileno(self) -> int:
        """Return its descriptor."""
        number: int = self.port.fileno()
        return number


class SharedPorts:
    """Binds endpoint strings without accepting anything: `Wires` as far as `Doors` need them.

    `ports` are the sockets; several `ssl:` strings of one port have one.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._uses: list[SharedPort] = []
        self.ports: list[SharedPort] = []

    async def bind(self, endpoints: Iterable[str]) -> None:
        """Bind them all. Raises what Twisted does, or `UnsharableError`; `close` then."""
        for endpoint in endpoints:
            await self.listen(endpoint)

    async def listen(self, endpoint: str, user_for: object = None) -> SharedListening:
        """Bind one, for workers to accept from. Raises what Twisted does, or `UnsharableError`."""
        recording = _RecordingReactor(self._reactor, self.ports, _handed_over(endpoint))
        try:
            port = await server_endpoint(recording, _plain(endpoint)).listen(_Nobody())
        except PassedSocketError:
            raise
        except Exception as error:
            if recording.bound is None and not recording.asked:
                # It did not even come to ask for a socket.
                raise UnsharableError(endpoint) from error
            raise
        if recording.bound is None:
            await maybeDeferred(port.stopListening)
            raise UnsharableError(endpoint)
        self._uses.append(recording.bound)
        return SharedListening(self, recording.bound)

    async def let_go(self, shared: SharedPort) -> None:
        """One endpoint string less; with the last one of a port it is unbound."""
        self._uses.remove(shared)
        if shared not in self._uses:
            self.ports.remove(shared)
            await maybeDeferred(shared.port.stopListening)

    def addresses(self) -> list[Any]:
        """Return what is bound, in the order of binding."""
        return [shared.port.getHost() for shared in self.ports]

    async def close(self) -> None:
        """Unbind everything. Idempotent."""
        ports, self.ports, self._uses = self.ports, [], []
        for shared in ports:
            try:
                await maybeDeferred(shared.port.stopListening)
            except Exception:
                # Such as a Unix socket's file that is gone: no reason not to stop.
                log.failure("a listener was not closed cleanly")


class SharedListening:
    """One endpoint string that is bound (`listening.Listening`)."""

    def __init__(self, ports: SharedPorts, shared: SharedPort) -> None:
        self.shared = shared
        self._ports = ports
        self._closed = False

    def address(self) -> IAddress:
        """Return what it is bound to."""
        address: IAddress = self.shared.port.getHost()
        return address

    async def close(self) -> None:
        """Unbind it, unless another string has the same port. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._ports.let_go(self.shared)


class _Nobody(ServerFactory):
    """The factory of ports that nobody reads."""

    noisy = False

    def buildProtocol(self, addr: object) -> None:
        return None

    def logPrefix(self) -> str:
        return "gateway"


class _Delegating:
    """A reactor but for what a subclass says."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


class _RecordingReactor(_Delegating):
    """Binds what an endpoint asks for, reads none of it, and keeps what it was."""

    def __init__(self, reactor: Any, ports: list[SharedPort], handed_over: Place) -> None:
        """`handed_over`: the place of a socket that comes listening, as from systemd."""
        super().__init__(reactor)
        self._ports = ports
        self._handed_over = handed_over
        self.asked = False
        self.bound: SharedPort | None = None

    def listenTCP(
        self, port: int, factory: Factory, backlog: int = TWISTED_BACKLOG, interface: str = ""
    ) -> IListeningPort:
        self.asked = True
        place = Place(port, interface)
        for shared in self._ports:
            # Several `ssl:` strings of one port are one listener.
            if shared.place == place and port:
                self.bound = shared
                return shared.port  # type: ignore[no-any-return]
        return self._keep(place, self._reactor.listenTCP(port, factory, _room(backlog), interface))

    def listenUNIX(
        self,
        address: str,
        factory: Factory,
        backlog: int = TWISTED_BACKLOG,
        mode: int = 0o666,
        wantPID: int = 0,
    ) -> IListeningPort:
        self.asked = True
        bound = self._reactor.listenUNIX(address, factory, _room(backlog), mode, wantPID)
        return self._keep(Place(0, "", os.fsdecode(address)), bound)

    def adoptStreamPort(
        self, fileDescriptor: int, addressFamily: int, factory: Factory
    ) -> IListeningPort:
        self.asked = True
        port = self._reactor.adoptStreamPort(fileDescriptor, addressFamily, factory)
        return self._keep(self._handed_over, port)

    def _keep(self, place: Place, port: Any) -> IListeningPort:
        port.stopReading()
        self.bound = SharedPort(place, port)
        self._ports.append(self.bound)
        return port  # type: ignore[no-any-return]


class InheritingReactor(_Delegating):
    """Listens on inherited sockets: whoever asks for a place gets the one bound there.

    `inherited`: descriptors by place, as `SharedPorts` had them. Each is taken over once. To
    ask for a place that is not among them raises KeyError.
    """

    def __init__(self, reactor: Any, inherited: Sequence[tuple[Place, int]]) -> None:
        super().__init__(reactor)
        self._inherited = list(inherited)

    def inherit(self, place: Place, fd: int) -> None:
        """Have one more."""
        self._inherited.append((place, fd))

    def listenTCP(
        self, port: int, factory: Factory, backlog: int = TWISTED_BACKLOG, interface: str = ""
    ) -> IListeningPort:
        adopted: Any
        fd = self._take(Place(port, interface))
        try:
            with socket.socket(fileno=os.dup(fd)) as sock:
                family = sock.family
            if family == socket.AF_UNIX:
                return self._adopt_unix(fd, factory)
            adopted = self._reactor.adoptStreamPort(fd, family, factory)
            adopted.numberAccepts = ACCEPTS
            return adopted  # type: ignore[no-any-return]
        finally:
            os.close(fd)

    def listenUNIX(
        self,
        address: str,
        factory: Factory,
        backlog: int = TWISTED_BACKLOG,
        mode: int = 0o666,
        wantPID: int = 0,
    ) -> IListeningPort:
        fd = self._take(Place(0, "", os.fsdecode(address)))
        try:
            return self._adopt_unix(fd, factory)
        finally:
            os.close(fd)

    def _take(self, place: Place) -> int:
        for index, (candidate, fd) in enumerate(self._inherited):
            if candidate == place:
                del self._inherited[index]
                return fd
        raise KeyError(place)

    def _adopt_unix(self, fd: int, factory: Factory) -> IListeningPort:
        port = _InheritedUnixPort(fd, factory, self._reactor)
        port.startListening()
        return port


class _InheritedUnixPort(unix.Port):
    """A Unix socket whose file is another process's: its mode is kept, and it is not unlinked."""

    def __init__(self, fd: int, factory: Factory, reactor: Any) -> None:
        sock = socket.socket(fileno=os.dup(fd))
        sock.setblocking(False)
        super().__init__(sock.getsockname(), factory, BACKLOG, reactor=reactor)
        self._inherited = sock

    def startListening(self) -> None:
        assert self.factory is not None
        self.factory.doStart()
        self.connected = True
        self._shouldShutdown = False
        self.socket = self._inherited
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self.numberAccepts = ACCEPTS
        self.startReading()  # type: ignore[no-untyped-call]

    def getHost(self) -> UNIXAddress:
        return UNIXAddress(self.socket.getsockname())

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)


def worker_endpoints(endpoints: Iterable[str]) -> list[str]:
    """Return the strings by which a worker listens on what `SharedPorts.listen` bound.

    They are the same, but for sockets that were handed over: only the first process is.
    """
    found = []
    for endpoint in endpoints:
        place = _handed_over(endpoint)
        inherited = f"tcp:{place.port}:interface={place.interface}"
        found.append(inherited if endpoint.startswith("systemd:") else endpoint)
    return found


def _handed_over(endpoint: str) -> Place:
    """Name the place of a socket that comes listening, after its endpoint string."""
    return Place(0, f"inherited-{sha256(endpoint.encode()).hexdigest()[:16]}")


def _plain(endpoint: str) -> str:
    """TLS is the workers' affair: its port is bound as a plain one."""
    if not endpoint.startswith("ssl:"):
        return endpoint
    arguments = take_apart(endpoint, Path()).arguments
    kept = [
        f"{name}={quoteStringArgument(arguments[name])}"
        for name in ("interface", "backlog")
        if name in arguments
    ]
    return ":".join(["tcp", arguments["port"], *kept])


def _room(backlog: int) -> int:
    # Twisted's default is small for thousands of clients; any other number is the operator's.
    return BACKLOG if backlog == TWISTED_BACKLOG else backlog
