"""Wires that speak TLS, over our own sockets in the nested loop."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqsuper.gateway.handshakes import Handshakes
from sqsuper.gateway.nested import HIGH_WATER, Nest, NestedWire
from sqsuper.http1 import answers

# The most that one record carries (RFC 8446, 5.1): what is read or written in one go.
RECORD_BYTES = 16_384
# Python calls a reset an end, too, but with this option of the context only a reset.
_END_IS_TOLD = hasattr(ssl, "OP_IGNORE_UNEXPECTED_EOF")

# Records read in one event, as long as they are not short: at most 64 KiB.
_RECORDS = 4
_SHORT = 1_024

_HANDSHAKE = 0x16  # the type of the record that begins a connection
_PEEK = 5
_HINT = "this port speaks HTTPS; use https:// instead of http://"

# A wire's states, in their order.
_FRESH = 0  # nothing has come
_SHAKING = 1  # the handshake is under way
_OPEN = 2
_DEAF = 3  # nothing can be understood or said any more: what comes is thrown away


class TlsWire(NestedWire):
    """A wire over one accepted socket that speaks TLS.

    Before its handshake is over `close` and `finish` end it at once, but for some that are
    still to be told something (`Handshakes.farewells`): they have 2 s.
    Who speaks HTTP without TLS gets a line in plain text that tells of https.
    """

    __slots__ = (
        "_context",
        "_end_held",
        "_farewell",
        "_handshakes",
        "_notice_due",
        "_read_blocked",
        "_state",
        "_thrown",
        "_write_blocked",
    )

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
        self._state = _FRESH
        # The peer is to be told that we send no more.
        self._notice_due = False
        # A read that waits for room to write, and a write that waits for something to read.
        self._read_blocked = False
        self._write_blocked = False
        # The end came together with data that made the user pause.
        self._end_held = False
        self._thrown = 0
        # Closed by its user already: it only waits for the handshake to be told why.
        self._farewell = False

    # Wire

    def send(self, data: bytes) -> bool:
        if self._closing or self._finishing or self._broken or self._state == _DEAF or not data:
            return True
        out = self._out
        if out is None:
            if self._state == _OPEN and len(data) <= RECORD_BYTES:
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
            if self._state == _OPEN:
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

    def resume(self) -> None:
        if self._end_held:
            self._paused = False
            self._nest.soon(self._tell_ended)
        else:
            super().resume()

    def finish(self) -> None:
        if self._state < _OPEN:
            self.close()
        else:
            super().finish()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._state == _OPEN and not self._broken:
            if self._out is not None:
                return
            try:
                self._notify()
            except ssl.SSLWantWriteError:
                self._arm(reading=False, writing=True)
                return
        elif self._state < _OPEN and self._out is not None and self._handshakes.room():
            self._farewell = True
            self._handshakes.farewells += 1
            self._nest.later(answers.LINGER_SECONDS, self._end)
            return
        if self._fd >= 0:
            self._let_go()
        self._nest.soon(self._tell_lost)

    def alive(self) -> bool:
        if self._broken or self._closing or self._read_ended or self._state == _DEAF:
            return False
        return self._quiet()

    # For the loop

    def readable(self) -> None:
        if self._state != _OPEN:
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
        self._took(*self._read())

    def writable(self) -> None:
        if self._state != _OPEN:
            if self._state == _SHAKING:
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

    def hung_up(self) -> None:
        if self._state in (_FRESH, _SHAKING):
            self._end()
        else:
            super().hung_up()

    # The handshake

    def step_handshake(self) -> None:
        """Take one step of the handshake (for `Handshakes`)."""
        if self._fd < 0:
            return
        reading, writing = True, False
        try:
            if self._state == _FRESH:
                # Not before the client has begun: a connection that says nothing costs little.
                self._socket = self._context().wrap_socket(
                    self._socket,
                    server_side=True,
                    do_handshake_on_connect=False,
                    suppress_ragged_eofs=False,
                )
                self._state = _SHAKING
            self._socket.do_handshake()
            self._state = _OPEN
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
        self._reading, self._writing = reading, writing
        self._register()

    def _line_up(self) -> None:
        """Wait for a step; nothing is to be told until then.

        Out of the loop, since `wrap_socket` closes the descriptor of a client that is gone.
        """
        self._registered = False
        self._nest.loop.unregister(self._fd)
        self._handshakes.line_up(self)

    def _readable_otherwise(self) -> None:
        if self._state == _DEAF:
            self._throw_away()
            return
        if self._state == _FRESH:
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

    def _read(self) -> tuple[bytes, bool | None]:
        """Return what there is, and how it ended: None not at all, True in good order."""
        parts: list[bytes] = []
        end: bool | None = None
        read = self._socket.read
        for _ in range(_RECORDS):
            try:
                data = read(RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLWantWriteError:
                self._read_blocked = True
                self._arm(reading=self._reading, writing=True)
                break
            except ssl.SSLZeroReturnError:
                end = True
                break
            except ssl.SSLEOFError:
                end = not _END_IS_TOLD
                break
            except (OSError, ValueError):
                end = False
                break
            if not data:
                end = True
                break
            parts.append(data)
            # OpenSSL holds back nothing of a record that was read whole.
            if len(data) < _SHORT:
                break
        return (parts[0] if len(parts) == 1 else b"".join(parts)), end

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
        if self._state != _OPEN:
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
        if self._state == _OPEN:
            self._notice_due = True
            self._give_notice()
        self._nest.soon(self._tell_drained)

    def _give_notice(self) -> None:
        """Tell the peer that we send no more, when nothing of what it sends is unread.

        `unwrap` reads, too, and would make the connection useless by finding data.
        """
        if not (self._read_ended or self._quiet()):
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

    def _quiet(self) -> bool:
        """Whether nothing is there to be read, not even an end."""
        tls = self._socket
        if isinstance(tls, ssl.SSLSocket) and tls.pending():
            return False
        try:
            # `SSLSocket.recv` takes no flags.
            socket.socket.recv(tls, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _go_deaf(self) -> None:
        """Say no more, and throw away what comes for a while, so that no reset overtakes what
        was said last.
        """
        self._state = _DEAF
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

    def _arm_for_out(self) -> None:
        blocked = self._write_blocked
        self._arm(reading=self._reading or blocked, writing=not blocked)

    def _let_go(self) -> None:
        if self._farewell:
            self._farewell = False
            self._handshakes.farewells -= 1
        super()._let_go()

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
