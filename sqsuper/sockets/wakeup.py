"""How a loop learns that another thread, or a signal, has something for it."""

from __future__ import annotations

import os
from contextlib import suppress

from sqsuper.sockets.capabilities import HERE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from sqsuper.sockets.loop import Loop

_READ_BYTES = 4096


class Wakeup:
    """A pipe of our own in a loop; a pair of sockets where a loop cannot wait for pipes.

    `woken(data)`: called in the loop with the bytes that came since, one a wake-up as long as
    there is room for them.
    """

    __slots__ = ("_loop", "_pair", "_read", "_woken", "_write")

    def __init__(self, loop: Loop, woken: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._woken = woken
        self._pair: tuple[socket.socket, socket.socket] | None = None
        if HERE.pipes:
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)
        else:
            import socket  # noqa: PLC0415  # for this alone

            self._pair = ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.setblocking(False)
            self._read, self._write = ours.fileno(), theirs.fileno()
        loop.register(self._read, self)

    def fileno(self) -> int:
        """Return the descriptor that a byte is to be written to, as for `set_wakeup_fd`."""
        return self._write

    def wake(self) -> None:
        """Let the loop call `woken`; for any thread."""
        with suppress(BlockingIOError):  # it is full: that wakes the loop as well
            if self._pair is None:
                os.write(self._write, b"\0")
            else:
                self._pair[1].send(b"\0")

    def readable(self) -> None:
        """Take what came (for the loop)."""
        try:
            if self._pair is None:
                data = os.read(self._read, _READ_BYTES)
            else:
                data = self._pair[0].recv(_READ_BYTES)
        except BlockingIOError:
            return
        self._woken(data)

    def writable(self) -> None:
        """Never asked for."""

    def hung_up(self) -> None:
        """Never: both ends are ours."""

    def close(self) -> None:
        """Close both ends; nobody may wake it any more."""
        self._loop.unregister(self._read)
        if self._pair is None:
            os.close(self._read)
            os.close(self._write)
        else:
            for end in self._pair:
                end.close()
