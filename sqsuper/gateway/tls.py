"""Wires that speak TLS, over our own sockets in the nested loop."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from sqsuper.gateway.handshakes import Handshakes
from sqsuper.gateway.nest import Nest
from sqsuper.gateway.nested import NestedWire
from sqsuper.gateway.tls_opening import DEAF, OPEN, OpeningWire
from sqsuper.gateway.wire import send_read
from sqsuper.http1 import answers

# The most that one record carries (RFC 8446, 5.1).
RECORD_BYTES = 16_384
# A record with all around it. Memory that OpenSSL once had, on its way in or out, stays the
# connection's: it is given one record at a time, and only a read that came back full is followed
# by a larger one.
READ_BYTES = RECORD_BYTES + 261
READ_MORE_BYTES = 65_536

# What TLS itself answers (updates of keys, alerts) while the peer takes nothing; past it
# nothing is read.
_MAX_REPLIES = 16_384


class TlsWire(OpeningWire):
    """A wire over one accepted socket that speaks TLS.

    All that came whole is decrypted at once, so that nothing is unread but what a pause holds
    back. What is sent is encrypted at once and is then the plain wire's: `pending` counts it so.

    Before its handshake is over `close` and `finish` end it at once, but for some that are
    still to be told something (`Handshakes.farewells`): they have 2 s.
    Who speaks HTTP without TLS gets a line in plain text that tells of https.
    """

    __slots__ = ("_choked", "_end_held", "_held", "_replies")

    def __init__(
        self,
        nest: Nest,
        sock: socket.socket,
        context: Callable[[], ssl.SSLContext],
        handshakes: Handshakes,
    ) -> None:
        """See `OpeningWire`."""
        super().__init__(nest, sock, context, handshakes)
        self._read_bytes = READ_BYTES
        # A pause holds something back: what came with the handshake's end, or the stream's end.
        self._held = False
        self._end_held = False
        self._replies = 0
        self._choked = False

    # Wire

    def send(self, data: bytes) -> bool:
        if self._state != OPEN:
            return self._send_early(data)
        if self._closing or self._finishing or self._broken or not data:
            return True
        try:
            sent = self._tls.write(data[:RECORD_BYTES])
            encrypted = self._outgoing.read()
            if sent < len(data):
                view = memoryview(data)
                records = [encrypted]
                while sent < len(data):
                    sent += self._tls.write(view[sent : sent + RECORD_BYTES])
                    records.append(self._outgoing.read())
                encrypted = b"".join(records)
        except OSError:
            self._break(len(data))
            return True
        return NestedWire.send(self, encrypted)

    def send_file(self, fd: int, offset: int, count: int) -> tuple[int, bool]:
        return send_read(self, fd, offset, count)

    def resume(self) -> None:
        super().resume()
        if self._held:
            self._nest.soon(self._go_on)

    def finish(self) -> None:
        if self._state < OPEN:
            self.close()
        else:
            if self._state == OPEN and not (self._finishing or self._closing):
                self._notify()
            super().finish()

    def send_last(self, data: bytes) -> None:
        if (
            self._state != OPEN
            # Below, what has to wait goes through `send`, and would be encrypted twice.
            or self._out is not None
            or self._closing
            or self._finishing
            or self._broken
            or not 0 < len(data) <= RECORD_BYTES
        ):
            self.send(data)
            self.finish()
            return
        try:
            self._tls.write(data)
        except OSError:
            self._finishing = True
            self._break(len(data))
            return
        self._say_end()
        super().send_last(self._outgoing.read())

    def close(self) -> None:
        if self._closing or self._farewell:
            return
        if self._state == OPEN:
            self._notify()
        elif self._early and self._state < OPEN and self._handshakes.room():
            self._farewell = True
            self._owes_drained = False
            self._handshakes.farewells += 1
            self._nest.later(answers.LINGER_SECONDS, self._end)
            return
        super().close()

    def alive(self) -> bool:
        if self._farewell or self._held or self._state == DEAF:
            return False
        return super().alive()

    # For the loop

    def readable(self) -> None:
        if self._state != OPEN:
            self._readable_otherwise()
            return
        if self._paused or self._closing or self._choked:
            self._arm(reading=False, writing=self._writing)
            return
        read_bytes = self._read_bytes
        try:
            data = self._socket.recv(read_bytes)
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        if len(data) == read_bytes:
            self._read_bytes = READ_MORE_BYTES
        elif read_bytes != READ_BYTES and len(data) < READ_BYTES:
            self._read_bytes = READ_BYTES
        if data:
            self._take(data)
        else:
            # It is the framing of HTTP that tells a whole request from a cut one.
            self._tell_ended()

    def writable(self) -> None:
        super().writable()
        if self._choked and self._out is None and self._fd >= 0:
            self._choked = False
            if not (self._paused or self._read_ended or self._broken):
                self._arm(reading=True, writing=False)

    # Own affairs

    def _opened(self) -> None:
        early, self._early = self._early, None
        for data in early or ():
            self.pending -= len(data)
            self.send(data)
        if self._farewell:
            self._notify()
            self._state = DEAF
            super().finish()
            return
        if self._owes_drained and self._out is None:
            self._owes_drained = False
            self._nest.soon(self._tell_drained)
        if self._incoming.pending:
            if self._paused or self._closing:
                self._held = True
                self._pass_on()
            else:
                self._take(opening=True)

    def _go_on(self) -> None:
        if self._held and not self._paused and self._fd >= 0 and not self._closing:
            self._held = False
            if self._end_held:
                self._tell_ended()
            else:
                self._take()

    def _take(self, came: bytes = b"", *, opening: bool = False) -> None:
        """Give the user what came, as far as it came whole; then its end, if that came too.

        `came`: what TLS was not given yet. `opening`: the handshake's end is still to be sent.
        """
        data, end = self._decrypt(came)
        if self._outgoing.pending and not opening:
            self._reply()
        answering: bool | None = False
        if data:
            user = self._user
            assert user is not None
            try:
                answering = user.received(data)
            except Exception:
                self._defect()
        if opening and not answering:
            self._pass_on()
        if end is None or self._fd < 0:
            return
        if not end:
            self._end()
        elif self._paused:
            self._held = self._end_held = True
            self._arm(reading=False, writing=self._writing)
        else:
            self._tell_ended()

    def _decrypt(self, came: bytes) -> tuple[bytes, bool | None]:
        """Return what is whole, and whether the stream ended: in good order, not so, or None."""
        incoming = self._incoming
        end: bool | None = None
        data = b""
        incoming.write(came[:READ_BYTES])
        given = READ_BYTES
        while end is None:
            try:
                more = self._tls.read(RECORD_BYTES)
                data += more
                end = not more or None
                if incoming.pending:
                    continue
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                end = True
            except (OSError, ValueError):
                end = False
            if given >= len(came):
                break
            incoming.write(came[given : given + READ_BYTES])
            given += READ_BYTES
        return data, end

    def _reply(self) -> None:
        """Send what TLS answers by itself; a peer that takes none of it is not read."""
        self._replies = self._outgoing.pending + (self._replies if self._out is not None else 0)
        self._pass_on()
        if self._out is not None and self._replies > _MAX_REPLIES:
            self._choked = True
            self._arm(reading=False, writing=self._writing)

    def _notify(self) -> None:
        """Say in TLS that we send no more."""
        if not self._broken:
            self._say_end()
            self._pass_on()

    def _say_end(self) -> None:
        # It would wait for the peer's.
        with suppress(OSError, ValueError):
            self._tls.unwrap()

    def _shut(self) -> None:
        if self._farewell:
            self._go_deaf()
        elif self._state == DEAF:
            self._nest.soon(self._tell_drained)
        else:
            super()._shut()

    def _end_broken(self) -> None:
        if self._state == OPEN:
            super()._end_broken()
        else:
            self._end()

    def _tell_ended(self) -> None:
        if self._user is None or self._fd < 0 or self._read_ended:
            return
        self._read_ended = True
        self._held = self._end_held = False
        try:
            self._user.ended()
        except Exception:
            self._defect()
        if self._fd >= 0:
            self._arm(reading=False, writing=self._writing)
