"""A pipe that a loop cannot wait for, read by a thread."""

from __future__ import annotations

import os
from _thread import start_new_thread
from collections import deque

from sqsuper.sockets.wakeup import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.sockets import Loop

_READ_BYTES = 65_536


class Piped:
    """Calls `took(data)` in the loop with what comes, and with nothing once, at the end.

    Its thread ends with the pipe, or with the process; so the loop is woken as long as it is.
    """

    __slots__ = ("_come", "_fd", "_took", "_wakeup")

    def __init__(self, loop: Loop, fd: int, took: Callable[[bytes], None]) -> None:
        self._fd = fd
        self._took = took
        self._come: deque[bytes] = deque()
        self._wakeup = Wakeup(loop, self._woken)
        start_new_thread(self._run, ())

    def _run(self) -> None:
        data = b"-"
        while data:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except OSError:
                data = b""
            self._come.append(data)
            self._wakeup.wake()

    def _woken(self, _: bytes) -> None:
        while self._come:
            self._took(self._come.popleft())
