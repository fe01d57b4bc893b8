"""Files of log lines, one a tenant: opened when needed, rotated by size. Blocking; no thread."""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqsuper.sockets.capabilities import HERE

MAX_OPEN = 64
IDLE_SECONDS = 30.0

# Non-blocking, so that a FIFO is an error here and not a standstill.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT
for _flag in ("O_NOFOLLOW", "O_NOCTTY", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
    _FLAGS |= getattr(os, _flag, 0)


class _File:
    """An open file, its size in bytes, and when it was last used."""

    __slots__ = ("fd", "size", "used")

    def __init__(self, fd: int, size: int, used: float) -> None:
        self.fd = fd
        self.size = size
        self.used = used


class LogFiles:
    """`NAME.log` in one directory, and `NAME.log.1` (the newest) to `.keep` of older lines.

    No file grows past `max_bytes`, but for a single line that is longer. Files are 0600 and
    are never reached through a link; the directory is made, 0700. At most `MAX_OPEN` are open,
    and none that was not used for `IDLE_SECONDS`. Used by one thread at a time.
    """

    def __init__(
        self, directory: Path, max_bytes: int, keep: int, clock: Callable[[], float]
    ) -> None:
        """`clock()`: monotonic seconds."""
        self._path = directory
        self._max_bytes = max_bytes
        self._keep = keep
        self._clock = clock
        self._directory: int | None = None
        self._open: OrderedDict[str, _File] = OrderedDict()

    @property
    def open_count(self) -> int:
        """How many files are open."""
        return len(self._open)

    def append(self, tenant: str, lines: bytes) -> None:
        """Append whole lines. Raises OSError; then none of a line's bytes stay behind alone."""
        position = 0
        while position < len(lines):
            file = self._file(tenant)
            room = max(0, self._max_bytes - file.size)
            end = len(lines)
            if end - position > room:
                end = lines.rfind(b"\n", position, position + room) + 1
                if end <= position:
                    if file.size:
                        self._rotate(tenant)
                        continue
                    end = lines.find(b"\n", position) + 1 or len(lines)
            self._write(file, lines[position:end])
            position = end

    def tidy(self) -> None:
        """Close what was not used for a while."""
        now = self._clock()
        while self._open:
            tenant, file = next(iter(self._open.items()))
            if now - file.used < IDLE_SECONDS:
                return
            self._forget(tenant)

    def close(self) -> None:
        """Close everything, also so that it is opened anew when used next."""
        for tenant in list(self._open):
            self._forget(tenant)
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None

    def _file(self, tenant: str) -> _File:
        file = self._open.get(tenant)
        if file is None:
            while len(self._open) >= MAX_OPEN:
                self._forget(next(iter(self._open)))
            file = self._open[tenant] = self._opened(_name(tenant))
        file.used = self._clock()
        self._open.move_to_end(tenant)
        return file

    def _opened(self, name: str) -> _File:
        path, place = self._place(name)
        if place is None and os.path.islink(path):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        fd = os.open(path, _FLAGS, 0o600, dir_fd=place)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(self._path / name))
        except OSError:
            os.close(fd)
            raise
        return _File(fd, found.st_size, self._clock())

    def _place(self, name: str) -> tuple[str, int | None]:
        """Return what to call a file, and the open directory that this is relative to."""
        if self._directory is None:
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            if not HERE.directories:
                return str(self._path / name), None
            self._directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return name, self._directory

    def _write(self, file: _File, lines: bytes) -> None:
        written = 0
        try:
            while written < len(lines):
                written += os.write(file.fd, memoryview(lines)[written:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(file.fd, file.size)
            file.size = os.fstat(file.fd).st_size
            raise
        file.size += written

    def _rotate(self, tenant: str) -> None:
        name, place = self._place(_name(tenant))
        self._forget(tenant)
        for number in range(self._keep, 0, -1):
            older = f"{name}.{number - 1}" if number > 1 else name
            with suppress(FileNotFoundError):
                os.replace(older, f"{name}.{number}", src_dir_fd=place, dst_dir_fd=place)
        with suppress(FileNotFoundError):
            if not self._keep:
                os.unlink(name, dir_fd=place)

    def _forget(self, tenant: str) -> None:
        os.close(self._open.pop(tenant).fd)


def _name(tenant: str) -> str:
    return f"{tenant}.log"
