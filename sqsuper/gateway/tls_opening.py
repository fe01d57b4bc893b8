"""How a TLS connection begins: its handshake, and what becomes of one that gets none."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from sqsuper.gateway.handshakes import Handshakes
from sqsuper.gateway.nest import Nest
from sqsuper.gateway.nested import HIGH_WATER, NestedWire
from sqsuper.http1 import answers

_HANDSHAKE = 0x16  # the type of the record that begins a connection
# Most of a client's first flight is far smaller; more is read after the next step.
_FLIGHT_BYTES = 4_096
_HINT = "this port speaks HTTPS; use https:// instead of http://"

# A wire's states, in their order.
FRESH = 0  # nothing has come
SHAKING = 1  # the handshake is under way
OPEN = 2
DEAF = 3  # nothing can be understood or said any more: what comes is thrown away


class OpeningWire(NestedWire):
    """The part of a wire that lasts until its handshake is over (`OPEN`), or failed.

    TLS is spoken in memory: `_incoming` is what came from the kernel, `_outgoing` what the
    plain wire below is to send, as any other bytes.
    """

    __slots__ = (
        "_context",
        "_early",
        "_farewell",
        "_handshakes",
        "_incoming",
        "_lined_up",
        "_outgoing",
        "_state",
        "_thrown",
        "_tls",
    )

    _tls: ssl.SSLObject  # these two from the first step of the handshake on
    _outgoing: ssl.MemoryBIO
    _incoming: ssl.MemoryBIO  # from the first byte on

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
        # What its user sent before the handshake was over.
        self._early: list[bytes] | None = None
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
        try:
            if self._state == FRESH:
                # Not before the client has begun: a connection that says nothing costs little.
                self._outgoing = ssl.MemoryBIO()
                self._tls = self._context().wrap_bio(
                    self._incoming, self._outgoing, server_side=True
                )
                self._state = SHAKING
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._pass_on()
            self._arm(reading=True, writing=self._writing)
        except (OSError, ValueError):
            self._handshakes.failed += 1
            # It says why.
            self._pass_on()
            self._end()
        else:
            self._state = OPEN
            self._handshakes.done += 1
            # What came with it may be a request, and its answer takes the ticket along.
            if not self._incoming.pending:
                self._pass_on()
            self._arm(reading=True, writing=self._writing)
            self._opened()

    def _opened(self) -> None:
        """Go on as an open connection."""
        raise NotImplementedError

    def _pass_on(self) -> bool:
        """Send what TLS has to say; see `send`."""
        return NestedWire.send(self, self._outgoing.read()) if self._outgoing.pending else True

    def _send_early(self, data: bytes) -> bool:
        """Keep what is sent before the handshake is over."""
        if self._closing or self._farewell or self._broken or self._state == DEAF or not data:
            return True
        if self._early is None:
            self._early = []
        self._early.append(data)
        self.pending += len(data)
        if self.pending > HIGH_WATER:
            self._owes_drained = True
            return False
        return True

    def _readable_otherwise(self) -> None:
        if self._state == DEAF:
            self._throw_away()
            return
        if self._lined_up:
            # What comes before its turn waits in the kernel.
            self._arm(reading=False, writing=self._writing)
            return
        try:
            data = self._socket.recv(_FLIGHT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if self._state == SHAKING:
                self._handshakes.failed += 1
            self._end()
            return
        if self._state == FRESH:
            if data[0] != _HANDSHAKE:
                self._tell_https(data)
                return
            self._incoming = ssl.MemoryBIO()
        self._incoming.write(data)
        self._lined_up = True
        self._handshakes.line_up(self)

    def _tell_https(self, first: bytes) -> None:
        self._handshakes.failed += 1
        if not first[:1].isalpha() and first[:1] not in b"\r\n":
            self._end()
            return
        method = b"HEAD" if first.startswith(b"HEAD ") else b""
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
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._end()
            return
        self._arm(reading=True, writing=False)
        self._nest.later(answers.LINGER_SECONDS, self._end)

    def _throw_away(self) -> None:
        try:
            data = self._socket.recv(65_536)
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
