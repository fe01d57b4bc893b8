"""Tenants' log files, written in a thread of their own: no disk holds up anybody else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from sqsuper.supervisor.log_files import LogFiles

MAX_PENDING = 8 * 1024 * 1024
"""Bytes that wait for the disk; what would make them more is lost."""
TIDY_INTERVAL = 10.0
JOINED = 256 * 1024


class LogWriter:
    """Appends to `LogFiles` in the order in which it was told, and never makes anybody wait.

    Lines that cannot be written are counted in the file as soon as it can be written again.
    `failed(reason)` is called in the thread.
    """

    def __init__(
        self,
        files: LogFiles,
        *,
        lost_line: Callable[[int], bytes],
        failed: Callable[[str], None],
    ) -> None:
        """`lost_line(count)` makes the line that tells how many were lost."""
        self._files = files
        self._lost_line = lost_line
        self._failed = failed
        self._work: deque[tuple[str, bytes]] = deque()
        self._pending = 0
        self._lost: dict[str, int] = {}
        self._reopen = False
        self._closing = False
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def append(self, tenant: str, lines: bytes) -> None:
        """Have whole lines appended to the tenant's file."""
        with self._wake:
            if self._closing or self._pending + len(lines) > MAX_PENDING:
                self._lose(tenant, lines)
                return
            self._work.append((tenant, lines))
            self._pending += len(lines)
            if self._thread is None:
                # No sooner: twistd may fork before, and most services have no such files.
                self._thread = threading.Thread(target=self._run, name="tenant logs", daemon=True)
                self._thread.start()
            self._wake.notify()

    def reopen(self) -> None:
        """Open every file anew when it is next written to."""
        with self._wake:
            self._reopen = True
            self._wake.notify()

    def close(self, patience: float) -> bool:
        """Write what waits; return whether that was done within `patience` seconds."""
        with self._wake:
            self._closing = True
            thread = self._thread
            self._wake.notify()
        if thread is None:
            return True
        # It may hang in a write for ever: the process ends without it, since it is a daemon.
        thread.join(patience)
        return not thread.is_alive()

    def _lose(self, tenant: str, lines: bytes) -> None:
        self._lost[tenant] = self._lost.get(tenant, 0) + lines.count(b"\n")

    # The thread

    def _run(self) -> None:
        while (work := self._next()) is not None:
            for tenant, lines in work.items():
                self._append(tenant, lines)
            self._files.tidy()
        self._files.close()

    def _next(self) -> dict[str, bytes] | None:
        """Wait for something to do; return what waits, joined, or None at the end."""
        with self._wake:
            if not (self._work or self._closing or self._reopen):
                self._wake.wait(TIDY_INTERVAL if self._files.open_count else None)
            if self._reopen:
                self._reopen = False
                self._files.close()
            if not self._work:
                return None if self._closing else {}
            taken: dict[str, bytearray] = {}
            size = 0
            while self._work and size < JOINED:
                tenant, lines = self._work.popleft()
                taken.setdefault(tenant, bytearray()).extend(lines)
                size += len(lines)
            self._pending -= size
        return {tenant: bytes(lines) for tenant, lines in taken.items()}

    def _append(self, tenant: str, lines: bytes) -> None:
        with self._wake:
            lost = self._lost.pop(tenant, 0)
        try:
            if lost:
                self._files.append(tenant, self._lost_line(lost))
                lost = 0
            self._files.append(tenant, lines)
        except OSError as error:
            with self._wake:
                self._lost[tenant] = self._lost.get(tenant, 0) + lost
                self._lose(tenant, lines)
            where = f"{error.filename}: " if error.filename else ""
            self._failed(f"{where}{error.strerror or error}")
