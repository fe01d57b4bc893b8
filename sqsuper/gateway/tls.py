"""Wires that speak TLS, over our own sockets in the nested loop."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from sqsuper.gateway.handshakes import Handshakes
from sqsuper.gateway.nest import Nest
from sqsuper.gateway.nested import HIGH_WATER
from sqsuper.gateway.tls_opening import DEAF, OPEN, SHAKING, OpeningWire
from sqsuper.gateway.wire import send_read
from sqsuper.http1 import answers

# The most that one record carries (RFC 8446, 5.1): what is read or written in one go.
RECORD_BYTES = 16_384
# Python calls a reset an end, too, but with this option of the context only a reset.
_END_IS_TOLD = hasattr(ssl, "OP_IGNORE_UNEXPECTED_EOF")

# Records read in one event, as long as they are not short: at most 64 KiB.
_RECORDS = 4
_SHORT = 1_024


class TlsWire(OpeningWire):
    """A wire over one accepted socket that speaks TLS.

    Before its handshake is over `close` and `finish` end it at once, but for some that are
    still to be told something (`Handshakes.farewells`): they have 2 s.
    Who speaks HTTP without TLS gets a line in plain text that tells of https.
    """

    __slots__ = ("_end_held", "_notice_due", "_read_blocked", "_write_blocked")

    def __init__(
        self,
        nest: Nest,
        sock: socket.socket,
        context: Callable[[], ssl.SSLContext],
        handshakes: Handshakes,
    ) -> None:
        """See `OpeningWire`."""
        super().__init__(nest, sock, context, handshakes)
        # The peer is to be told that we send no more.
        self._notice_due = False
        # A read that waits for room to write, and a write that waits for something to read.
        self._read_blocked = False
        self._write_blocked = False
        # The end came together with data that made the user pause.
        self._end_held = False

    # Wire

    def send(self, data: bytes) -> bool:
        if self._closing or self._finishing or self._broken or self._state == DEAF or not data:
            return True
        out = self._out
        if out is None:
            if self._state == OPEN and len(data) <= RECORD_BYTES:
                try:
                    self._socket.write(data)
                    return True
                except ssl.SSLWantWriteError:
                    pass
                except ssl.SSLWantReadError:
                    self._write_blocked = True
                except OSError:
                    self._break(len(data))
                    return True
            self._out = out = deque()
            out.append(memoryview(data))
            self.pending += len(data)
            if self._state == OPEN:
                if len(data) > RECORD_BYTES:
                    self._flush()
                if self._out is not None:
                    self._arm_for_out()
        else:
            out.append(memoryview(data))
            self.pending += len(data)
        if self.pending > HIGH_WATER and not self._broken:
            self._owes_drained = True
            return False
        return True

    def send_file(self, fd: int, offset: int, count: int) -> tuple[int, bool]:
        return send_read(self, fd, offset, count)

    def resume(self) -> None:
        if self._end_held:
            self._paused = False
            self._nest.soon(self._tell_ended)
        else:
            super().resume()

    def finish(self) -> None:
        if self._state < OPEN:
            self.close()
        else:
            super().finish()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._state == OPEN and not self._broken:
            if self._out is not None:
                return
            try:
                self._notify()
            except ssl.SSLWantWriteError:
                self._arm(reading=False, writing=True)
                return
        elif self._state < OPEN and self._out is not None and self._handshakes.room():
            self._farewell = True
            self._handshakes.farewells += 1
            self._nest.later(answers.LINGER_SECONDS, self._end)
            return
        if self._fd >= 0:
            self._let_go()
        self._nest.soon(self._tell_lost)

    def alive(self) -> bool:
        if self._broken or self._closing or self._read_ended or self._state == DEAF:
            return False
        return self._is_quiet()

    # For the loop

    def readable(self) -> None:
        if self._state != OPEN:
            self._readable_otherwise()
            return
        if self._write_blocked:
            self._write_blocked = False
            self.writable()
            if self._fd < 0:
                return
        if self._paused or self._closing:
            if not self._write_blocked:
                self._arm(reading=False, writing=self._writing)
            return
        try:
            data = self._socket.read(RECORD_BYTES)
        except Exception as error:
            self._took(b"", self._how_it_ended(error))
            return
        if not data or len(data) >= _SHORT or self._notice_due:
            self._took(*self._read_on(data))
            return
        # All there is: OpenSSL holds back nothing of a record that was read whole.
        user = self._user
        assert user is not None
        try:
            user.received(data)
        except Exception:
            self._defect()

    def writable(self) -> None:
        if self._state != OPEN:
            if self._state == SHAKING:
                self._line_up()
            return
        if self._read_blocked:
            self._read_blocked = False
            self.readable()
            if self._fd < 0:
                return
        self._flush()
        if self._fd < 0 or self._broken:
            return
        if self._out is not None:
            self._arm_for_out()
        else:
            self._all_sent()

    # Own affairs

    def _read_on(self, data: bytes) -> tuple[bytes, bool | None]:
        """Return `data`, what there is behind it, and how it ended (see `_how_it_ended`)."""
        parts: list[bytes] = []
        read = self._socket.read
        end: bool | None = None
        while data:
            parts.append(data)
            if len(data) < _SHORT or len(parts) == _RECORDS:
                break
            try:
                data = read(RECORD_BYTES)
            except Exception as error:
                end = self._how_it_ended(error)
                break
        else:
            end = True
        return (parts[0] if len(parts) == 1 else b"".join(parts)), end

    def _how_it_ended(self, error: Exception) -> bool | None:
        """Say how the stream ended when a read raises: not at all (None), or in good order?"""
        if isinstance(error, ssl.SSLWantReadError):
            return None
        if isinstance(error, ssl.SSLWantWriteError):
            self._read_blocked = True
            self._arm(reading=self._reading, writing=True)
            return None
        if isinstance(error, ssl.SSLZeroReturnError):
            return True
        if isinstance(error, ssl.SSLEOFError):
            return not _END_IS_TOLD
        if isinstance(error, (OSError, ValueError)):
            return False
        raise error

    def _took(self, data: bytes, end: bool | None) -> None:
        user = self._user
        assert user is not None
        if data:
            try:
                user.received(data)
            except Exception:
                self._defect()
        if self._fd < 0:
            return
        if end is False:
            self._end()
        elif end is None:
            if self._notice_due:
                self._give_notice()
        elif self._paused:
            self._end_held = True
            self._arm(reading=False, writing=self._writing)
        else:
            self._tell_ended()

    def _flush(self) -> None:
        """Send what waits, record by record; the one that was refused is given again first."""
        out = self._out
        if self._state != OPEN:
            return
        while out:
            view = out[0]
            try:
                sent = self._socket.write(view[:RECORD_BYTES])
            except ssl.SSLWantWriteError:
                return
            except ssl.SSLWantReadError:
                self._write_blocked = True
                return
            except (OSError, ValueError):
                self._break(0)
                return
            self.pending -= sent
            if sent < len(view):
                out[0] = view[sent:]
            else:
                out.popleft()
        self._out = None

    def _all_sent(self) -> None:
        if self._closing:
            with suppress(ssl.SSLWantWriteError):
                self._notify()
                if self._farewell:
                    self._go_deaf()
                else:
                    self._end()
            return
        self._arm(reading=self._reading, writing=self._read_blocked)
        if self._finishing:
            if self._notice_due:
                self._give_notice()
            else:
                self._shut()
        elif self._owes_drained:
            self._owes_drained = False
            self._tell_drained()

    def _shut(self) -> None:
        if self._state == OPEN:
            self._notice_due = True
            self._give_notice()
        self._nest.soon(self._tell_drained)

    def _give_notice(self) -> None:
        """Tell the peer that we send no more, when nothing of what it sends is unread.

        `unwrap` reads, too, and would make the connection useless by finding data.
        """
        if not (self._read_ended or self._is_quiet()):
            return
        try:
            ended = self._notify()
        except ssl.SSLWantWriteError:
            self._arm(reading=self._reading, writing=True)
            return
        self._notice_due = False
        if ended is None:
            # The very thing happened: data came at that moment.
            self._go_deaf()
            return
        # `SSLSocket.shutdown` would give up TLS for what is still to be read.
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
        if ended and not self._read_ended:
            self._arm(reading=False, writing=self._writing)
            self._nest.soon(self._tell_ended)

    def _notify(self) -> bool | None:
        """Send close_notify; whether the peer's came too. None: nothing more can be read.

        Raises SSLWantWriteError: to be called again.
        """
        try:
            self._socket.unwrap()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            raise
        except (OSError, ValueError):
            return None
        return True

    def _is_quiet(self) -> bool:
        tls = self._socket
        if isinstance(tls, ssl.SSLSocket) and tls.pending():
            return False
        return super()._is_quiet()

    def _arm_for_out(self) -> None:
        blocked = self._write_blocked
        self._arm(reading=self._reading or blocked, writing=not blocked)

    def _tell_ended(self) -> None:
        if self._user is None or self._fd < 0 or self._read_ended:
            return
        self._read_ended = True
        self._end_held = False
        try:
            self._user.ended()
        except Exception:
            self._defect()
        if self._fd >= 0:
            self._arm(reading=False, writing=self._writing)
            if self._notice_due:
                self._give_notice()
