"""The lock on a command engine's data directory, which the supervisor holds for it.

It is the lock that an embedded engine takes itself: so no two instances of whatever engine,
of whatever supervisor, run on one directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from sqsuper.sockets import locking
from sqsuper.supervisor import holder
from sqsuper.supervisor.errors import DirectoryError, DirectoryLockedError


class DirectoryLock:
    """Held from the start of a process until nothing of it is left."""

    def __init__(self, directory: Path) -> None:
        """Take it; raises `DirectoryLockedError` or `DirectoryError`."""
        try:
            self._fd = locking.open_to_lock(directory)
        except OSError as error:
            raise DirectoryError(directory, error) from error
        try:
            locking.lock(self._fd)
        except BlockingIOError as error:
            who = holder.of_lock(self._fd)
            os.close(self._fd)
            raise DirectoryLockedError(directory, None if who is None else who.pid) from error
        except OSError as error:
            os.close(self._fd)
            raise DirectoryError(directory, error) from error

    def release(self) -> None:
        """Give it up. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
