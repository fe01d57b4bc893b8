"""The system calls on files where directories are not opened: real paths stand for them."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from sqsuper.engine.disk import Disk
from sqsuper.sockets import locking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ALWAYS = (
    getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOINHERIT", 0)
    | getattr(os, "O_NOFOLLOW", 0)
)
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _ALWAYS
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ALWAYS
_REOPEN = os.O_WRONLY | _ALWAYS

# Numbers of directories: no file's descriptor is as high.
_FIRST = 1 << 30


class PathDisk(Disk):
    """A `Disk` whose directories are numbers of its own, each for a real path.

    Before a name is opened, and once more after that, the path to it must be the real one: no
    link, junction or short name leads anywhere else. Between two looks only who may write in
    the directory itself could exchange something.
    """

    replaces_open = False

    def __init__(self) -> None:
        self._directories: dict[int, bytes] = {}
        self._next = _FIRST
        self._locks: dict[int, int] = {}
        # Files that are open for writing: one that is renamed must be closed for that.
        self._written: dict[int, bytes] = {}

    def open_root(self, path: str) -> int:
        return self._add(os.fsencode(os.path.realpath(path)))

    def open_directory(self, name: bytes, directory: int) -> int:
        path = self._path(name, directory)
        self._check(path)
        return self._add(path)

    def open_read(self, name: bytes, directory: int) -> int:
        path = self._path(name, directory)
        if stat.S_ISDIR(self._check(path).st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        fd = os.open(path, _READ)
        try:
            if not os.path.samestat(self._check(path), os.fstat(fd)):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def create(self, name: bytes, directory: int) -> int:
        path = self._path(name, directory)
        self._check(self._directories[directory])
        fd = os.open(path, _CREATE, 0o600)
        self._written[fd] = path
        return fd

    def fstat(self, fd: int) -> os.stat_result:
        path = self._directories.get(fd)
        return os.fstat(fd) if path is None else os.stat(path)

    def lstat(self, name: bytes, directory: int) -> os.stat_result:
        return os.lstat(self._path(name, directory))

    def fsync(self, fd: int) -> None:
        path = self._directories.get(fd)
        if path is None:
            super().fsync(fd)
            return
        try:
            opened = os.open(path, os.O_RDONLY)
        except PermissionError:
            return  # this system writes a directory's entries by itself, in order
        try:
            super().fsync(opened)
        finally:
            os.close(opened)

    def rename(self, old: bytes, new: bytes, directory: int) -> None:
        path, target = self._path(old, directory), self._path(new, directory)
        self._check(self._directories[directory])
        for fd, written in list(self._written.items()):
            if written == path:
                self._rename_open(fd, path, target)
                return
        os.replace(path, target)

    def link(self, old: bytes, new: bytes, directory: int) -> None:
        path = self._path(old, directory)
        self._check(path)
        os.link(path, self._path(new, directory))

    def unlink(self, name: bytes, directory: int) -> None:
        self._check(self._directories[directory])
        os.unlink(self._path(name, directory))

    def scan(self, path: str | bytes | int) -> Iterator[os.DirEntry[str]]:
        if isinstance(path, int):
            path = self._directories[path]
        yield from super().scan(os.fsdecode(path))

    def lock(self, fd: int) -> None:
        path = self._directories.get(fd)
        if path is None:
            super().lock(fd)
            return
        held = locking.open_to_lock(os.fsdecode(path), directories=False)
        try:
            locking.lock(held)
        except BaseException:
            os.close(held)
            raise
        self._locks[fd] = held

    def close(self, fd: int) -> None:
        self._written.pop(fd, None)
        if self._directories.pop(fd, None) is None:
            os.close(fd)
        elif fd in self._locks:
            os.close(self._locks.pop(fd))

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write at an offset; of one file, for one thread at a time."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        """Read at most `count` bytes at an offset; of one file, for one thread at a time."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, count)

    def _add(self, path: bytes) -> int:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        self._next += 1
        self._directories[self._next] = path
        return self._next

    def _path(self, name: bytes, directory: int) -> bytes:
        return os.path.join(self._directories[directory], name)

    @staticmethod
    def _check(path: bytes) -> os.stat_result:
        """Return what stands there; raises OSError, ELOOP where the path is not the real one."""
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) or _folded(os.path.realpath(path)) != _folded(path):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return status

    def _rename_open(self, fd: int, path: bytes, target: bytes) -> None:
        # Its number is kept meanwhile, or another thread's file might get it.
        _become(fd, os.open(os.devnull, os.O_RDONLY))
        try:
            os.replace(path, target)
        except OSError:
            with suppress(OSError):
                _become(fd, os.open(path, _REOPEN))
            raise
        self._written[fd] = target
        _become(fd, os.open(target, _REOPEN))


def _folded(path: bytes) -> bytes:
    return os.path.normcase(path)


def _become(fd: int, opened: int) -> None:
    try:
        os.dup2(opened, fd, inheritable=False)
    finally:
        os.close(opened)
