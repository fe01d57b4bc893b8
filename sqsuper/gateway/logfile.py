"""A log that is written in a thread of its own: a slow disk holds up nobody else."""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from contextlib import suppress

from sqsuper.sockets.capabilities import HERE

STANDARD_OUTPUT = "-"
# How long after a failed write the next one is tried, in seconds.
RETRY = 0.5
# A pipe takes so much without mixing it with what another process writes (Linux's PIPE_BUF;
# POSIX promises less). Files that are opened to append take any size so.
PIECE = 4096


# Non-blocking, so that a FIFO without a reader is an error here and not a standstill.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT
for _flag in ("O_CLOEXEC", "O_NOCTTY", "O_NONBLOCK", "O_BINARY"):
    _FLAGS |= getattr(os, _flag, 0)


class LogFile:
    """Appends whole lines to the file `path`, or to standard output (`-`).

    The owner calls `open` first; it bounds what waits in memory by looking at `pending`. No
    line is torn: what was written of one before an error is taken back, or completed later.
    """

    def __init__(self, path: str, retry: float = RETRY) -> None:
        self.path = path
        self.failures = 0  # writes and openings that failed
        self.problem = ""  # why the last one did
        self.lost = 0  # lines given up when it was closed
        self._retry = retry
        self._fd = -1
        self._takes_back = False
        # Bytes. One thread changes the first, the other the second.
        self._given = 0
        self._settled = 0
        self._work: deque[bytes | None] = deque()  # None: open the file anew
        self._wake = threading.Condition()
        self._reopen_asked = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        """How many bytes were given to `write` and are not written."""
        return self._given - self._settled

    def open(self) -> None:
        """Open the file, made 0600 if it is missing, and its directory 0700. Raises OSError."""
        self._use(self._opened())
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Have whole lines appended."""
        self._given += len(lines)
        self._tell(lines)

    def reopen(self) -> None:
        """Open the file anew, after what was given to `write` so far; at once if writes fail.

        When that fails the old file goes on.
        """
        self._reopen_asked.set()
        self._tell(None)

    def close(self, patience: float) -> bool:
        """Write what is left; return whether that was done within `patience` seconds."""
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        self._closing.set()
        with self._wake:
            self._wake.notify()
        # It may hang in a write for ever: the process ends without it, since it is a daemon.
        thread.join(patience)
        return not thread.is_alive()

    def _tell(self, work: bytes | None) -> None:
        with self._wake:
            self._work.append(work)
            self._wake.notify()

    # The thread

    def _run(self) -> None:
        while (work := self._next()) is not None:
            if work:
                self.lost += self._append(work)
                self._settled += len(work)
            else:
                self._reopen()
        os.close(self._fd)

    def _next(self) -> bytes | None:
        """Wait for what is to be done: bytes, none of them for a reopening, None for the end."""
        with self._wake:
            while not self._work:
                if self._closing.is_set():
                    return None
                self._wake.wait()
            return self._work.popleft() or b""

    def _append(self, lines: bytes) -> int:
        """Write it all, however long that takes; at the end of the log, return lines given up."""
        position = 0
        while position < len(lines):
            end = self._end_of_piece(lines, position)
            try:
                written = os.write(self._fd, memoryview(lines)[position:end])
            except BlockingIOError:
                # Somebody made the standard output non-blocking.
                if self._closing.is_set():
                    return lines.count(b"\n", position)
                select.select([], [self._fd], [], self._retry)
            except OSError as error:
                self._failed(error)
                if self._closing.wait(self._retry):
                    return lines.count(b"\n", position)
                if self._reopen_asked.is_set():
                    position = self._reopen_inside(lines, position)
            else:
                position += written
                if position < end:
                    position = self._take_back(lines, position)
        return 0

    def _end_of_piece(self, lines: bytes, position: int) -> int:
        if self._takes_back or len(lines) - position <= PIECE:
            return len(lines)
        end = lines.rfind(b"\n", position, position + PIECE) + 1
        return end or lines.find(b"\n", position + PIECE) + 1 or len(lines)

    def _take_back(self, lines: bytes, position: int) -> int:
        """Cut off the piece of a line that was written, if possible; return where to go on."""
        start = lines.rfind(b"\n", 0, position) + 1
        if self._takes_back and start < position:
            with suppress(OSError):
                size = os.fstat(self._fd).st_size
                # Somebody else may have appended since.
                if size == os.lseek(self._fd, 0, os.SEEK_CUR):
                    os.ftruncate(self._fd, size - (position - start))
                    return start
        return position

    def _reopen_inside(self, lines: bytes, position: int) -> int:
        """Reopen; return where the next whole line starts, for the new file."""
        self._reopen()
        if position and lines[position - 1] != 0x0A:
            return lines.find(b"\n", position) + 1
        return position

    def _reopen(self) -> None:
        self._reopen_asked.clear()
        try:
            fd = self._opened()
        except OSError as error:
            self._failed(error)
        else:
            os.close(self._fd)
            self._use(fd)

    def _opened(self) -> int:
        if self.path == STANDARD_OUTPUT:
            # Its own number: Twisted logs what is written to `sys.stdout`.
            return os.dup(1)
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), mode=0o700, exist_ok=True)
        fd = os.open(self.path, _FLAGS, 0o600)
        if HERE.pipes:
            os.set_blocking(fd, True)
        return fd

    def _use(self, fd: int) -> None:
        self._fd = fd
        self._takes_back = self.path != STANDARD_OUTPUT and stat.S_ISREG(os.fstat(fd).st_mode)

    def _failed(self, error: OSError) -> None:
        self.problem = error.strerror or str(error)
        self.failures += 1
