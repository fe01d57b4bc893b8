"""Wires made of our own sockets, in the loop that is nested in the reactor."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections import deque
from contextlib import suppress

from twisted.logger import Logger

from sqsuper.gateway.nest import Nest
from sqsuper.gateway.outgoing import in_kernel
from sqsuper.gateway.wire import WireUser, send_read

# `send` wants its user to wait once more than this is waiting. With one read on top of it, at
# most 256 KiB are buffered a connection.
HIGH_WATER = 65_536
# A read that came back full is followed by a larger one, where the wire allows it.
READ_BYTES = 65_536
READ_MORE_BYTES = 262_144 - HIGH_WATER

# Reads of what was said before a connection broke: at most 1 MiB.
_READS_AFTER_BREAK = 16
_RESET = struct.pack("ii", 1, 0)
_MORE = int(getattr(socket, "MSG_MORE", 0))
# `sendfile` is not for every file system.
_NOT_THERE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

log = Logger()


class NestedWire:
    """A wire over one connected, non-blocking socket.

    What is sent goes to the kernel at once; a remainder waits for EPOLLOUT. While reading is
    paused no call to the kernel is made until something comes.
    """

    __slots__ = (
        "_broken",
        "_closing",
        "_fd",
        "_finishing",
        "_look",
        "_most",
        "_nest",
        "_out",
        "_owes_drained",
        "_paused",
        "_read_bytes",
        "_read_ended",
        "_reading",
        "_registered",
        "_socket",
        "_terse",
        "_user",
        "_writing",
        "pending",
    )

    def __init__(self, nest: Nest, sock: socket.SocketType, most: int = READ_BYTES) -> None:
        """Take over `sock`; nothing is read before `begin`, and never more than `most` at once."""
        self.pending = 0
        self._nest = nest
        self._socket = sock
        self._fd = sock.fileno()
        self._user: WireUser | None = None
        self._out: deque[memoryview] | None = None
        self._look: select.poll | None = None
        self._owes_drained = False
        self._paused = False
        self._closing = False
        self._finishing = False
        self._broken = False
        self._read_ended = False
        self._most = most
        self._terse = False
        self._read_bytes = READ_BYTES
        # What epoll was told. Unregistered: parked until `resume`, or not begun.
        self._registered = False
        self._reading = True
        self._writing = False
        nest.wires.add(self)

    def begin(self, user: WireUser) -> None:
        """Read, and tell `user` from now on."""
        self._user = user
        if self._fd >= 0:
            self._registered = True
            self._nest.loop.register(self._fd, self, reading=self._reading, writing=self._writing)

    def has_sent(self, data: bytes, count: int, terse: bool) -> None:
        """Learn that the kernel took `count` bytes of `data` already (before `begin`).

        `terse`: this TCP connection has no NODELAY and holds back its acknowledgements, which
        suits a request and an answer of one piece each. It ends with whatever else comes.
        """
        self._terse = terse
        if count != len(data):
            self._out = deque((memoryview(data)[count:],))
            self.pending = len(data) - count
            self._writing = True
            self._end_terse()

    # Wire

    def send(self, data: bytes) -> bool:
        if self._out is None:
            if self._closing or self._finishing or self._broken:
                return True
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._break(len(data))
                return True
            if sent == len(data):
                return True
            self._out = deque((memoryview(data)[sent:],))
            self.pending = len(data) - sent
            self._arm(reading=self._reading, writing=True)
        elif not (self._closing or self._finishing):
            self._out.append(memoryview(data))
            self.pending += len(data)
        if self.pending > HIGH_WATER:
            self._owes_drained = True
            return False
        return True

    def send_file(self, fd: int, offset: int, count: int) -> tuple[int, bool]:
        if self._closing or self._finishing or self._broken:
            return count, True
        sent = 0
        if self._out is None:
            try:
                sent = os.sendfile(self._fd, fd, offset, count)
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno in _NOT_THERE:
                    return send_read(self, fd, offset, count)
                self._break(count)
                return count, True
            if sent == count:
                return sent, True
            self._out = deque()
            self._arm(reading=self._reading, writing=True)
        self._owes_drained = True
        return sent, False

    def pause(self) -> None:
        # The kernel is told when something comes (`readable`): often none does.
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if not self._reading and not (self._read_ended or self._closing):
            self._reading = True
            if self._registered:
                self._nest.loop.modify(self._fd, reading=True, writing=self._writing)
            elif self._user is not None:
                self._register()

    def finish(self) -> None:
        if not (self._finishing or self._closing):
            self._finishing = True
            if self._out is None:
                self._shut()

    def send_last(self, data: bytes) -> None:
        if self._out is not None or self._closing or self._finishing or self._broken:
            self.send(data)
            self.finish()
            return
        self._finishing = True
        try:
            # The end goes with it, in one packet.
            sent = self._socket.send(data, _MORE)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._break(len(data))
            return
        if sent == len(data):
            self._shut()
        else:
            self._out = deque((memoryview(data)[sent:],))
            self.pending = len(data) - sent
            self._arm(reading=self._reading, writing=True)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if self._out is None:
                self._let_go()
                self._nest.soon(self._tell_lost)

    def discard(self) -> None:
        self._user = None
        if self._out is None and not self._closing:
            self._closing = True
            self._nest.close_soon(self)
        else:
            self.close()

    def abort(self) -> None:
        if self._fd < 0:
            return
        # An error means that it is gone already: closing is all that is left.
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._let_go()
        self._nest.soon(self._tell_lost)

    def untaken(self) -> int:
        return self.pending + in_kernel(self._socket) if self._fd >= 0 else 0

    def alive(self) -> bool:
        if self._broken or self._closing or self._read_ended:
            return False
        look = self._look
        if look is None:
            # Asked for before every request to an instance: less than half of a peek by `recv`.
            look = self._look = select.poll()
            look.register(self._fd, select.POLLIN)
        return not look.poll(0)

    # For the loop

    def readable(self) -> None:
        if self._paused or self._closing:
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
        user = self._user
        assert user is not None
        try:
            if data:
                if len(data) == read_bytes:
                    self._read_bytes = self._most
                elif read_bytes != READ_BYTES and len(data) < READ_BYTES:
                    self._read_bytes = READ_BYTES
                user.received(data)
                if self._terse and not self._closing:
                    self._end_terse()
                return
            self._read_ended = True
            user.ended()
        except Exception:
            self._defect()
        if self._fd >= 0:
            self._arm(reading=False, writing=self._writing)

    def writable(self) -> None:
        out = self._out
        while out:
            view = out[0]
            try:
                sent = self._socket.send(view)
            except BlockingIOError:
                return
            except OSError:
                self._break(0)
                return
            self.pending -= sent
            if sent < len(view):
                out[0] = view[sent:]
                return
            out.popleft()
        self._out = None
        if self._closing:
            self._end()
            return
        self._arm(reading=self._reading, writing=False)
        if self._finishing:
            self._shut()
        elif self._owes_drained:
            self._owes_drained = False
            self._tell_drained()

    def hung_up(self) -> None:
        """Whatever is armed, the loop would report this again and again: end, or be parked.

        A peer that went in good order while we do not read may have left bytes: they are
        read after `resume`. When both directions were ended, it only says so.
        """
        gone = self._read_ended and not self._finishing
        if self._reading or gone or self._closing or self._was_reset():
            self._end()
        else:
            self._unregister()

    # Own affairs

    def _was_reset(self) -> bool:
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def _end_terse(self) -> None:
        """Be as any other connection: a peer without NODELAY waits for what is held back."""
        if self._terse:
            self._terse = False
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _arm(self, *, reading: bool, writing: bool) -> None:
        if reading != self._reading or writing != self._writing:
            self._reading = reading
            self._writing = writing
            if self._registered:
                self._nest.loop.modify(self._fd, reading=reading, writing=writing)

    def _register(self) -> None:
        self._registered = True
        self._nest.loop.register(self._fd, self, reading=self._reading, writing=self._writing)

    def _unregister(self) -> None:
        if self._registered:
            self._registered = False
            self._nest.loop.unregister(self._fd)

    def _shut(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._break(0)
        else:
            self._nest.soon(self._tell_drained)

    def _break(self, lost: int) -> None:
        """Nothing can be sent any more; the `lost` bytes just given never were."""
        self._broken = True
        self._out = None
        self.pending += lost
        self._nest.soon(self._end_broken)

    def _end_broken(self) -> None:
        # What the peer said before it went away, such as an early answer, still counts.
        for _ in range(_READS_AFTER_BREAK):
            if self._user is None or self._paused or self._read_ended or self._fd < 0:
                break
            try:
                data = self._socket.recv(READ_BYTES)
            except OSError:
                break
            if not data:
                break
            self._take(data)
        self._end()

    def _take(self, data: bytes) -> None:
        """Give the user what was read after the connection broke."""
        user = self._user
        assert user is not None
        try:
            user.received(data)
        except Exception:
            self._defect()

    def _end(self) -> None:
        if self._fd >= 0:
            self._let_go()
            self._tell_lost()

    def _defect(self) -> None:
        log.failure("a connection's user failed")
        self.abort()

    def close_now(self) -> None:
        """Close what was discarded (for the nest)."""
        if self._reading:
            # Else a copy of it could tell nothing but a hang-up, which is never in vain.
            self._nest.loop.forget(self._fd)
            self._registered = False
        self._let_go()

    def _let_go(self) -> None:
        # Before it is closed: a copy in a child that was just forked keeps events coming.
        self._unregister()
        self._fd = -1
        self._closing = True
        self._out = None
        self._socket.close()
        self._nest.forget(self)

    def _tell_drained(self) -> None:
        if self._user is not None and self._fd >= 0:
            try:
                self._user.drained()
            except Exception:
                self._defect()

    def _tell_lost(self) -> None:
        user, self._user = self._user, None
        if user is not None:
            try:
                user.lost()
            except Exception:
                log.failure("a connection's user failed")
