"""How a TLS connection begins: its handshake, and what becomes of one that gets none."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

from sqsuper.gateway.handshakes import Handshakes
from sqsuper.gateway.nest import Nest
from sqsuper.gateway.nested import NestedWire
from sqsuper.http1 import answers

_HANDSHAKE = 0x16  # the type of the record that begins a connection
_PEEK = 5
_HINT = "this port speaks HTTPS; use https:// instead of http://"

# A wire's states, in their order.
FRESH = 0  # nothing has come
SHAKING = 1  # the handshake is under way
OPEN = 2
DEAF = 3  # nothing can be understood or said any more: what comes is thrown away


class OpeningWire(NestedWire):
    """The part of a wire that lasts until its handshake is over (`OPEN`), or failed."""

    __slots__ = ("_context", "_farewell", "_handshakes", "_lined_up", "_state", "_thrown")

    _socket: Any  # `ssl.SSLSocket` from the handshake on

    def __init__(
        self,
        nest: Nest,
        sock: socket.socket,
        context: Callable[[], ssl.SSLContext],
        handshakes: Handshakes,
    ) -> None:
        """Take over `sock`; `context` gives what the handshake begins with."""
        super().__init__(nest, sock)
        self._context = context
        self._handshakes = handshakes
        self._state = FRESH
        # Its next step of the handshake is due.
        self._lined_up = False
        # Closed by its user already: it only waits for the handshake to be told why.
        self._farewell = False
        self._thrown = 0

    # For the loop

    def hung_up(self) -> None:
        if self._state in (FRESH, SHAKING):
            self._end()
        else:
            super().hung_up()

    # The handshake

    def step_handshake(self) -> None:
        """Take one step of the handshake (for `Handshakes`)."""
        self._lined_up = False
        if self._fd < 0:
            return
        reading, writing = True, False
        try:
            if self._state == FRESH:
                # It closes the descriptor of a client that is gone.
                self._unregister()
                # Not before the client has begun: a connection that says nothing costs little.
                self._socket = self._context().wrap_socket(
                    self._socket,
                    server_side=True,
                    do_handshake_on_connect=False,
                    suppress_ragged_eofs=False,
                )
                self._state = SHAKING
            self._socket.do_handshake()
            self._state = OPEN
            self._handshakes.done += 1
            writing = self._out is not None
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            reading, writing = False, True
        except (OSError, ValueError):
            # ValueError: the other side is gone already.
            self._handshakes.failed += 1
            self._end()
            return
        self._arm(reading=reading, writing=writing)
        if not self._registered:
            self._register()

    def wait_in_line(self) -> None:
        """Be told of nothing until the next step (for `Handshakes`)."""
        if self._lined_up and self._fd >= 0:
            self._unregister()

    def _line_up(self) -> None:
        if not self._lined_up:
            self._lined_up = True
            self._handshakes.line_up(self)

    def _readable_otherwise(self) -> None:
        if self._state == DEAF:
            self._throw_away()
            return
        if self._state == FRESH:
            try:
                first = self._socket.recv(_PEEK, socket.MSG_PEEK)
            except BlockingIOError:
                return
            except OSError:
                first = b""
            if not first:
                self._end()
                return
            if first[0] != _HANDSHAKE:
                self._tell_https(first)
                return
        self._line_up()

    def _tell_https(self, first: bytes) -> None:
        self._handshakes.failed += 1
        if not first[:1].isalpha() and first[:1] not in b"\r\n":
            self._end()
            return
        method = b"HEAD" if first == b"HEAD " else b""
        try:
            self._socket.send(answers.error(400, "https-port", _HINT, method=method))
        except OSError:
            self._end()
            return
        self._go_deaf()

    # Own affairs

    def _go_deaf(self) -> None:
        """Say no more, and throw away what comes for a while, so that no reset overtakes what
        was said last.
        """
        self._state = DEAF
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
        except OSError:
            self._end()
            return
        self._arm(reading=True, writing=False)
        self._nest.later(answers.LINGER_SECONDS, self._end)

    def _throw_away(self) -> None:
        try:
            data = socket.socket.recv(self._socket, 65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._thrown += len(data)
        if not data or self._thrown > answers.LINGER_BYTES:
            self._end()

    def _let_go(self) -> None:
        if self._farewell:
            self._farewell = False
            self._handshakes.farewells -= 1
        super()._let_go()
