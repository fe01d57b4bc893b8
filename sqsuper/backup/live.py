"""Files that a program rewrites in place while they are copied: each copy is of one moment.

A file is copied when nobody has written to it for a while; if somebody did before the copy was
done, it is copied again. Files are not of the same moment as one another.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from sqsuper.backup import files
from sqsuper.backup.errors import TenantError
from sqsuper.backup.staging import Source
from sqsuper.backup.walking import locate, walk

# Seconds without a write: a write of one request pauses for less.
QUIET = 1.0
PATIENCE = 60.0
_PAUSE = 0.2
_PIECE = 1 << 20


class Live:
    """The files of a directory that a program works on. Copies are made in `spool`, one by one.

    `wall()`: seconds since the epoch.
    """

    moment = False

    def __init__(
        self,
        tenant: str,
        directory: Path,
        spool: Path,
        *,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = PATIENCE,
    ) -> None:
        """Raises TenantError."""
        self.tenant = tenant
        self.directory = directory
        self.left: list[str] = []
        self._spool = spool
        self._wall = wall
        self._sleep = sleep
        self._patience = patience
        self._paths: list[str] = []
        try:
            with files.opened(directory, files.DIRECTORY) as root:
                walk(root, directory, lambda path, *_: self._paths.append(path), self.left)
        except OSError as error:
            raise TenantError.of(tenant, error) from error

    def sources(self) -> Iterator[Source]:
        """Give each file. Raises TenantError, also for one that is never quiet."""
        for wanted in self._paths:
            try:
                with tempfile.TemporaryFile(dir=self._spool) as copy:
                    status = self._copied(wanted, copy)
                    if status is not None:
                        copy.seek(0)
                        yield Source(wanted, status.st_size, status.st_mtime, copy)
            except OSError as error:
                raise TenantError.of(self.tenant, error, wanted) from error

    def remove(self) -> None:
        """Nothing is kept."""

    def _copied(self, path: str, copy: IO[bytes]) -> os.stat_result | None:
        """Copy a file as it is at one moment; None if there is none any more."""
        end = self._wall() + self._patience
        while True:
            found = self._try(path, copy)
            if found is not _AGAIN:
                return found if isinstance(found, os.stat_result) else None
            if self._wall() >= end:
                raise TenantError(
                    self.tenant,
                    f"{path} is written to all the time, and no copy of it is whole;"
                    " stop the tenant for its backup",
                )
            self._sleep(_PAUSE)

    def _try(self, path: str, copy: IO[bytes]) -> object:
        found: list[object] = []

        def take(_path: str, name: str, parent: int) -> None:
            with files.opened(name, files.READ, parent) as fd:
                found.append(self._once(fd, copy))

        with files.opened(self.directory, files.DIRECTORY) as root:
            locate(root, self.directory, path, take)
        return found[0] if found else None

    def _once(self, fd: int, copy: IO[bytes]) -> object:
        before = os.fstat(fd)
        if not files.is_regular(fd):
            return None
        if abs(self._wall() - before.st_mtime) < QUIET:
            return _AGAIN
        copy.seek(0)
        copy.truncate()
        while piece := os.read(fd, _PIECE):
            copy.write(piece)
        after = os.fstat(fd)
        same = _mark(before) == _mark(after) and copy.tell() == after.st_size
        return after if same else _AGAIN


_AGAIN = object()


def _mark(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
