"""Connections to instances over our own sockets."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from sqsuper.gateway.nest import Nest
from sqsuper.gateway.nested import READ_MORE_BYTES, NestedWire
from sqsuper.gateway.wire import Wire, WireUser
from sqsuper.instances import Upstream
from sqsuper.sockets.loop import Timer

CONNECT_TIMEOUT = 10.0

# Enums' members are slow to compare and to convert.
_UNIX = int(getattr(socket, "AF_UNIX", -1))
_INET, _INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_STREAM = int(socket.SOCK_STREAM) | int(getattr(socket, "SOCK_NONBLOCK", 0))

# A full backlog, or too few descriptors, ports or memory: all of them pass.
_TRY_AGAIN = frozenset(
    {
        errno.EAGAIN,
        errno.EADDRNOTAVAIL,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
    }
)


class NestedConnector:
    """Opens connections to instances in a nest."""

    def __init__(self, nest: Nest, timeout: float = CONNECT_TIMEOUT) -> None:
        self._nest = nest
        self._timeout = timeout

    def connect(
        self,
        upstream: Upstream,
        connected: Callable[[Wire], WireUser],
        failed: Callable[[bool], None],
    ) -> Callable[[], None]:
        """See `Connector.connect`."""
        family, address = _address(upstream)
        try:
            sock = socket.socket(family, _STREAM)
        except OSError as error:
            failed(error.errno in _TRY_AGAIN)
            return _nothing
        try:
            if family != _UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex(address)
            if code == errno.EINPROGRESS:
                # On loopback the other side's answer is there by now: looking once more
                # spares a turn of the loop.
                code = sock.connect_ex(address)
        except OSError as error:
            code = error.errno or errno.EINVAL
        if code == errno.EALREADY:
            return _Dial(self._nest, sock, self._timeout, connected, failed).cancel
        if code in (0, errno.EISCONN):
            _begin(self._nest, sock, connected)
        else:
            sock.close()
            failed(code in _TRY_AGAIN)
        return _nothing

    def send_at_once(self, upstream: Upstream, data: bytes, user: WireUser) -> Wire | None:
        """See `Connector.send_at_once`."""
        family, address = _address(upstream)
        try:
            # What `socket.socket` is made of: that one makes enums of its numbers.
            sock = socket.SocketType(family, _STREAM)
        except OSError:
            return None
        try:
            if family != _UNIX:
                # The last step of the handshake goes with the request, in one packet.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            # On loopback the handshake is over when this returns, with EINPROGRESS though; where
            # it is not, or was refused, sending says so.
            sock.connect_ex(address)
            sent = sock.send(data)
        except OSError:
            sock.close()
            return None
        wire = NestedWire(self._nest, sock, READ_MORE_BYTES)
        wire.has_sent(data, sent, terse=family != _UNIX)
        wire.begin(user)
        return wire


def _address(upstream: Upstream) -> tuple[int, str | tuple[str, int]]:
    if upstream.path is not None:
        return _UNIX, upstream.path
    return (_INET6 if ":" in upstream.host else _INET), (upstream.host, upstream.port)


def _begin(nest: Nest, sock: socket.socket, connected: Callable[[Wire], WireUser]) -> None:
    # Large answers go through in large pieces.
    wire = NestedWire(nest, sock, READ_MORE_BYTES)
    try:
        user = connected(wire)
    except Exception:
        wire.abort()
        raise
    wire.begin(user)


class _Dial:
    """A connect under way."""

    __slots__ = ("_connected", "_failed", "_nest", "_socket", "_timer")

    def __init__(
        self,
        nest: Nest,
        sock: socket.socket,
        timeout: float,
        connected: Callable[[Wire], WireUser],
        failed: Callable[[bool], None],
    ) -> None:
        self._nest = nest
        self._socket: socket.socket | None = sock
        self._connected = connected
        self._failed = failed
        self._timer: Timer = nest.later(timeout, self._timed_out)
        nest.loop.register(sock.fileno(), self, reading=False, writing=True)

    def cancel(self) -> None:
        """End the attempt; nobody is told. Idempotent, harmless once it is over."""
        sock = self._take()
        if sock is not None:
            sock.close()

    def _take(self) -> socket.socket | None:
        sock, self._socket = self._socket, None
        if sock is not None:
            self._timer.cancel()
            self._nest.loop.unregister(sock.fileno())
        return sock

    def _timed_out(self) -> None:
        self._fail(errno.ETIMEDOUT)

    def _fail(self, code: int) -> None:
        sock = self._take()
        if sock is not None:
            sock.close()
            self._failed(code in _TRY_AGAIN)

    # For the loop

    def readable(self) -> None:
        """Never asked for."""

    def writable(self) -> None:
        if self._socket is None:
            return
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(code)
            return
        sock = self._take()
        if sock is not None:
            _begin(self._nest, sock, self._connected)

    def hung_up(self) -> None:
        if self._socket is not None:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._fail(code or errno.ECONNREFUSED)


def _nothing() -> None:
    pass
