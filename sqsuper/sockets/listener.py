"""Accepts connections, and stops for a while when descriptors run out."""

from __future__ import annotations

import errno
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.sockets.loop import Loop, Timer

# Connections taken in one turn, so that a flood of them holds up nobody else for long.
BATCH = 64
PAUSE_SECONDS = 0.1

_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """One listening socket in a loop.

    `accepted(sock)` gets each connection, non-blocking. When descriptors run out nothing is
    accepted until `room` is called (a connection was closed) or 100 ms have passed;
    `exhausted(error)` is called each time that begins.
    """

    __slots__ = ("_accepted", "_batch", "_exhausted", "_fd", "_kind", "_loop", "_pause", "_socket")

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        accepted: Callable[[socket.socket], None],
        exhausted: Callable[[OSError], None] | None = None,
        batch: int = BATCH,
    ) -> None:
        """Take over `sock`, which listens already; at most `batch` are accepted in one turn."""
        sock.setblocking(False)
        self._loop = loop
        self._socket = sock
        self._fd = sock.fileno()
        # Plain numbers, where `socket.accept` asks for enumerations' members each time.
        self._kind = (
            super(socket.socket, sock).family,
            super(socket.socket, sock).type,
            sock.proto,
        )
        self._accepted = accepted
        self._exhausted = exhausted
        self._batch = batch
        self._pause: Timer | None = None
        loop.register(self._fd, self)

    @property
    def paused(self) -> bool:
        """Whether accepting waits for descriptors."""
        return self._pause is not None

    def room(self) -> None:
        """Accept again: a descriptor came free."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            if self._fd >= 0:
                self._loop.modify(self._fd, reading=True, writing=False)

    def close(self) -> None:
        """Accept no more and close the socket. Idempotent."""
        if self._fd < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._loop.unregister(self._fd)
        self._fd = -1
        self._socket.close()

    def readable(self) -> None:
        """Accept what waits (for the loop)."""
        for _ in range(self._batch):
            if self._fd < 0 or self._pause is not None:
                return
            try:
                fd, _address = self._socket._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._stop(error)
                    return
                # That one connection is gone again (ECONNABORTED and such).
                continue
            connected = socket.socket(*self._kind, fd)
            connected.setblocking(False)
            self._accepted(connected)

    def writable(self) -> None:
        """Never asked for."""

    def hung_up(self) -> None:
        """Nothing: a listening socket without readiness has nothing to end."""

    def _stop(self, error: OSError) -> None:
        self._loop.modify(self._fd, reading=False, writing=False)
        self._pause = self._loop.after(PAUSE_SECONDS, self.room)
        if self._exhausted is not None:
            self._exhausted(error)
