"""The system calls on files that the engine makes: the seam where tests let each one fail."""

from __future__ import annotations

import errno
import os

from sqsuper.sockets import locking
from sqsuper.sockets.capabilities import HERE

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_READ = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_DIRECTORY = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_ROOT = _DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0)
_CREATE = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


# What a file system says that cannot empty the drive's cache.
_NO_FULL_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOTTY, errno.EOPNOTSUPP})


class Disk:
    """The real one. Names are bytes, relative to an open directory; errors are OSError.

    `replaces_open`: whether a file can be replaced by another while it is open.
    """

    replaces_open = True

    # The fcntl(2) command by which a sync reaches the medium where fsync(2) ends at the drive's
    # cache (macOS); None elsewhere.
    _full_sync: int | None = getattr(fcntl, "F_FULLFSYNC", None)

    def open_root(self, path: str) -> int:
        """Open the data directory itself; a link there is the operator's and followed."""
        return os.open(path, _ROOT)

    def open_directory(self, name: bytes, directory: int) -> int:
        """Open a directory; no link is followed."""
        return os.open(name, _DIRECTORY, dir_fd=directory)

    def open_read(self, name: bytes, directory: int) -> int:
        """Open a file for reading; no link is followed, a FIFO does not block."""
        return os.open(name, _READ, dir_fd=directory)

    def create(self, name: bytes, directory: int) -> int:
        """Create a file, 0600, for writing. Fails if there is anything of that name."""
        return os.open(name, _CREATE, 0o600, dir_fd=directory)

    def fstat(self, fd: int) -> os.stat_result:
        """Return what `fd` is."""
        return os.fstat(fd)

    def lstat(self, name: bytes, directory: int) -> os.stat_result:
        """Return what stands under a name; links are not followed."""
        return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def read(self, fd: int, count: int) -> bytes:
        """Read at most `count` bytes."""
        return os.read(fd, count)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write, and return how much was written."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Make a file, or a directory's entries, durable."""
        if self._full_sync is not None:
            try:
                fcntl.fcntl(fd, self._full_sync)
            except OSError as error:
                if error.errno not in _NO_FULL_SYNC:
                    raise
            else:
                return
        os.fsync(fd)

    def rename(self, old: bytes, new: bytes, directory: int) -> None:
        """Rename within a directory, replacing what is there."""
        os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)

    def link(self, old: bytes, new: bytes, directory: int) -> None:
        """Give a file a second name within its directory."""
        os.link(old, new, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)

    def unlink(self, name: bytes, directory: int) -> None:
        """Remove a name."""
        os.unlink(name, dir_fd=directory)

    def scan(self, path: str | bytes | int) -> Iterator[os.DirEntry[str]]:
        """Iterate over a directory's entries."""
        with os.scandir(path) as entries:
            yield from entries

    def lock(self, fd: int) -> None:
        """Take an exclusive lock, or raise BlockingIOError."""
        locking.lock(fd)

    def close(self, fd: int) -> None:
        """Close."""
        os.close(fd)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write at an offset, and return how much was written."""
        return os.pwrite(fd, data, offset)

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        """Read at most `count` bytes at an offset."""
        return os.pread(fd, count, offset)

    def fdatasync(self, fd: int) -> None:
        """Make a file's data durable, and of its metadata what reading them back needs."""
        if self._full_sync is None and hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:
            self.fsync(fd)


def local() -> Disk:
    """Return this system's."""
    if HERE.directories:
        return Disk()
    from sqsuper.engine.path_disk import PathDisk  # noqa: PLC0415  # for few systems

    return PathDisk()
