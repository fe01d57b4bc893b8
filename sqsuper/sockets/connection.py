"""A non-blocking stream socket that sends at once and holds back its reader when it cannot."""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from sqsuper.sockets.loop import Loop

    class Owner(Protocol):
        """Who uses a connection."""

        def received(self, data: bytes) -> None:
            """Take bytes that came (never empty)."""

        def ended(self) -> None:
            """Learn that the peer sends no more (end of file)."""

        def drained(self) -> None:
            """Learn that everything sent was taken by the kernel, after `pending` was not 0."""

        def lost(self, error: OSError | None) -> None:
            """Learn that the socket is closed; called exactly once, nothing follows."""


RECEIVE_BYTES = 65_536

_RESET = struct.pack("ii", 1, 0)


class Connection:
    """One connected socket in a loop.

    While bytes wait to be sent nothing is read, unless `read_while_sending` is set.
    `pending`: bytes accepted by `send` that the kernel has not taken. `progress`: the loop's
    time when bytes were last taken or the queue was last empty.
    """

    __slots__ = (
        "_closing",
        "_fd",
        "_full",
        "_half_closing",
        "_loop",
        "_out",
        "_owner",
        "_paused",
        "_peer_ended",
        "_socket",
        "pending",
        "progress",
        "read_while_sending",
    )

    def __init__(self, loop: Loop, sock: socket.socket, owner: Owner) -> None:
        """Take over `sock` (connected, or with a connect under way) and read from it."""
        sock.setblocking(False)
        self._loop = loop
        self._socket = sock
        self._fd = sock.fileno()
        self._owner = owner
        self._out: deque[memoryview] = deque()
        self._paused = False
        self._full = False
        self._closing = False
        self._half_closing = False
        self._peer_ended = False
        self.pending = 0
        self.progress = loop.now
        self.read_while_sending = False
        loop.register(self._fd, self)

    @property
    def closed(self) -> bool:
        """Whether the socket is closed."""
        return self._fd < 0

    @property
    def blocked(self) -> bool:
        """Whether something waits for the kernel to take it."""
        return self._full or self.pending > 0

    def send(self, data: bytes | memoryview) -> None:
        """Send now what the kernel takes, and the rest when it takes more.

        `data` must not change afterwards. Ignored after `close`, `half_close` or the end.
        """
        if self._fd < 0 or self._closing or self._half_closing:
            return
        if self._out:
            view = memoryview(data)
            self._out.append(view)
            self.pending += len(view)
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._end(error)
            return
        self.progress = self._loop.now
        left = len(data) - sent
        if left:
            self._out.append(memoryview(data)[sent:])
            self.pending = left
            self._arm()

    def send_file(self, fd: int, offset: int, count: int) -> int | None:
        """Send now what the kernel takes of a file, and return how much that was.

        None: it takes nothing now, and the owner is told when it does (`drained`); nothing else
        must be sent meanwhile. 0: the file has no more. To be called with nothing pending.
        Raises OSError where the file cannot be read.
        """
        if self._fd < 0 or self._closing or self._half_closing:
            return None
        try:
            sent = os.sendfile(self._fd, fd, offset, count)
        except (BlockingIOError, InterruptedError):
            self._full = True
            self._arm()
            return None
        except (BrokenPipeError, ConnectionError) as error:
            self._end(error)
            return None
        self.progress = self._loop.now
        return sent

    def pause(self) -> None:
        """Read nothing until `resume`."""
        if not self._paused:
            self._paused = True
            self._arm()

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            self._arm()

    def half_close(self) -> None:
        """Send no more once what is pending is sent; reading goes on."""
        if self._fd < 0 or self._half_closing:
            return
        self._half_closing = True
        if not self._out:
            self._shut()

    def close(self) -> None:
        """Close once what is pending is sent."""
        self._closing = True
        if not self._out:
            self._end(None)

    def abort(self) -> None:
        """Close now, with a reset where the protocol has one; what is pending is lost."""
        if self._fd < 0:
            return
        # An error means that it is gone already: closing is all that is left.
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._end(None)

    def readable(self) -> None:
        """Read once (for the loop)."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if data:
            self._owner.received(data)
            return
        self._peer_ended = True
        self._arm()
        self._owner.ended()

    def writable(self) -> None:
        """Send what is pending (for the loop)."""
        out = self._out
        self._full = False
        while out:
            view = out[0]
            try:
                sent = self._socket.send(view)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(error)
                return
            self.progress = self._loop.now
            self.pending -= sent
            if sent < len(view):
                out[0] = view[sent:]
                return
            out.popleft()
        if self._closing:
            self._end(None)
            return
        if self._half_closing:
            self._shut()
            if self._fd < 0:
                return
        self._arm()
        self._owner.drained()

    def hung_up(self) -> None:
        """End: nobody is there to take an answer (for the loop)."""
        self._end(None)

    def _shut(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._end(error)

    def _arm(self) -> None:
        if self._fd < 0:
            return
        sending = self._full or bool(self._out)
        reading = not (
            self._paused or self._peer_ended or (sending and not self.read_while_sending)
        )
        self._loop.modify(self._fd, reading=reading, writing=sending)

    def _end(self, error: OSError | None) -> None:
        if self._fd < 0:
            return
        self._loop.unregister(self._fd)
        self._fd = -1
        self._out.clear()
        self.pending = 0
        self._socket.close()
        self._owner.lost(error)
