"""A disk in memory that fails, stops, and forgets what no completed sync covers.

One directory, descriptor `DIRECTORY`, of regular files. The kernel's view is kept beside what
is durable: of a file, for each 512-byte sector the versions that the device may hold; of the
directory, the operations since its last completed sync.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import cast

from sqsuper.engine.disk import Disk

DIRECTORY = 3
SECTOR = 512

Site = tuple[str, str, int]


class Stopped(BaseException):  # the end of the world, no error
    """Power is gone: no later call has any effect."""


class Inode:
    """A file. `safe`: its durable bytes; `dirty`: versions of sectors that may be durable."""

    def __init__(self, number: int, data: bytes = b"") -> None:
        self.number = number
        self.now = bytearray(data)
        self.safe = bytes(data)
        self.dirty: dict[int, list[bytes]] = {}
        # Sectors of a sync that failed: later syncs do not cover them (the kernel has
        # dropped them from what it writes back) unless they are written again.
        self.dropped: dict[int, list[bytes]] = {}

    def write(self, offset: int, data: bytes) -> None:
        if offset > len(self.now):
            self.now.extend(bytes(offset - len(self.now)))
        self.now[offset : offset + len(data)] = data
        for sector in range(offset // SECTOR, (offset + len(data) + SECTOR - 1) // SECTOR):
            versions = self.dirty.setdefault(sector, self.dropped.pop(sector, []))
            versions.append(bytes(self.now[sector * SECTOR : (sector + 1) * SECTOR]))

    def sync(self) -> None:
        safe = bytearray(self.safe.ljust(len(self.now), b"\0"))
        for sector in self.dirty:
            piece = self.now[sector * SECTOR : (sector + 1) * SECTOR]
            safe[sector * SECTOR : sector * SECTOR + len(piece)] = piece
        self.safe = bytes(safe)
        self.dirty = {}

    def sync_failed(self) -> None:
        for sector, versions in self.dirty.items():
            self.dropped.setdefault(sector, []).extend(versions)
        self.dirty = {}

    def after_power_loss(self, random: Random) -> bytes:
        if not self.dirty and not self.dropped:
            return self.safe
        shortest, longest = sorted((len(self.safe), len(self.now)))
        size = random.choice((shortest, longest, random.randint(shortest, longest)))
        data = bytearray(self.safe.ljust(longest, b"\0"))
        for lost in (self.dropped, self.dirty):
            for sector, versions in lost.items():
                version = random.choice([None, versions[-1], random.choice(versions)])
                if version is not None:
                    data[sector * SECTOR : sector * SECTOR + len(version)] = version
        return bytes(data[:size])


class _Entry:
    def __init__(self, name: str) -> None:
        self.name = name


class SimulatedDisk(Disk):
    """The double.

    `files`: what is there at first, durably. `fail`: asked before each call with its kind and
    count, gives an errno to fail with or 0. `stop`: the count of the call after which the world
    stops. `skip`: a site in the code whose syncs do nothing.
    """

    def __init__(self, random: Random, files: dict[bytes, bytes] | None = None) -> None:
        self.random = random
        self.calls = 0
        self.fail: Callable[[str, int], int] = lambda kind, count: 0
        self.stop: int | None = None
        self.skip: Site | None = None
        self.sites: set[Site] = set()
        self.log: list[str] = []
        self._stopped = False
        self._inodes = 0
        self._names = {name: self._inode(data) for name, data in (files or {}).items()}
        self._safe = dict(self._names)
        self._operations: list[tuple[bytes | None, bytes | None, Inode | None]] = []
        self._open: dict[int, list[object]] = {}
        self._fd = 10

    def files(self) -> dict[bytes, bytes]:
        """Return the kernel's view."""
        return {name: bytes(inode.now) for name, inode in self._names.items()}

    def put(self, name: bytes, data: bytes) -> None:
        """Someone else replaces a file, durably."""
        self._names[name] = self._inode(data)
        self._safe = dict(self._names)
        self._operations = []

    def restart(self) -> None:
        """The process was killed: descriptors are closed, nothing is lost."""
        self._open = {}
        self.stop = None
        self.fail = lambda kind, count: 0

    def lose_power(self) -> SimulatedDisk:
        """Return the disk that the next start finds."""
        names = dict(self._safe)
        for old, new, inode in self._operations:
            if self.random.random() < 0.5:
                continue
            if old is not None:
                names.pop(old, None)
            if new is not None and inode is not None:
                names[new] = inode
        after: dict[Inode, bytes] = {}
        for inode in names.values():
            if inode not in after:
                after[inode] = inode.after_power_loss(self.random)
        disk = SimulatedDisk(self.random, {name: after[inode] for name, inode in names.items()})
        disk.skip = self.skip
        disk.sites = self.sites
        return disk

    @property
    def open_files(self) -> int:
        return len(self._open)

    # Calls

    def open_read(self, name: bytes, directory: int) -> int:
        self._call("open", name)
        return self._handle(self._find(name))

    def create(self, name: bytes, directory: int) -> int:
        self._call("create", name)
        if name in self._names:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        inode = self._names[name] = self._inode(b"")
        self._operations.append((None, name, inode))
        fd = self._handle(inode)
        self._after()
        return fd

    def fstat(self, fd: int) -> os.stat_result:
        return self._status(self._file(fd))

    def lstat(self, name: bytes, directory: int) -> os.stat_result:
        return self._status(self._find(name))

    def read(self, fd: int, count: int) -> bytes:
        self._call("read")
        inode, position = self._file(fd), self._position(fd)
        data = bytes(inode.now[position : position + count])
        self._open[fd][1] = position + len(data)
        return data

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        self._call("read")
        return bytes(self._file(fd).now[offset : offset + count])

    def write(self, fd: int, data: bytes | memoryview) -> int:
        position = self._position(fd)
        count = self._write("write", fd, bytes(data), position)
        self._open[fd][1] = position + count
        return count

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return self._write("pwrite", fd, bytes(data), offset)

    def fsync(self, fd: int) -> None:
        self._sync("fsync", fd)

    def fdatasync(self, fd: int) -> None:
        self._sync("fdatasync", fd)

    def rename(self, old: bytes, new: bytes, directory: int) -> None:
        self._call("rename", old, new)
        inode = self._find(old)
        del self._names[old]
        self._names[new] = inode
        self._operations.append((old, new, inode))
        self._after()

    def unlink(self, name: bytes, directory: int) -> None:
        self._call("unlink", name)
        self._find(name)
        del self._names[name]
        self._operations.append((name, None, None))
        self._after()

    def scan(self, path: str | bytes | int) -> Iterator[os.DirEntry[str]]:
        self._call("scan")
        names = list(self._names)
        self.random.shuffle(names)
        for name in names:
            yield cast("os.DirEntry[str]", _Entry(os.fsdecode(name)))

    def close(self, fd: int) -> None:
        if not self._stopped:
            del self._open[fd]

    # Inside

    def _call(self, kind: str, *names: bytes) -> None:
        if self._stopped:
            raise Stopped
        self.calls += 1
        self.log.append(f"{self.calls} {kind} {names}")
        number = self.fail(kind, self.calls)
        if number:
            self.log.append(f"  failed {number}")
            raise OSError(number, os.strerror(number))

    def _after(self) -> None:
        if self.stop is not None and self.calls >= self.stop:
            self._stopped = True
            raise Stopped

    def _write(self, kind: str, fd: int, data: bytes, offset: int) -> int:
        inode = self._file(fd)
        try:
            self._call(kind)
        except OSError:
            # Some of it may have come through.
            inode.write(offset, data[: self.random.randint(0, len(data))])
            raise
        if len(data) > 1 and self.random.random() < 0.1:
            data = data[: self.random.randint(1, len(data))]
        inode.write(offset, data)
        self._after()
        return len(data)

    def _sync(self, kind: str, fd: int) -> None:
        frame = sys._getframe(2)
        site = (os.path.basename(frame.f_code.co_filename), frame.f_code.co_name, frame.f_lineno)
        self.sites.add(site)
        skipped = site == self.skip
        is_directory = fd == DIRECTORY
        try:
            self._call(kind, b"directory" if is_directory else b"")
        except OSError:
            if not is_directory:
                self._file(fd).sync_failed()
            raise
        if not skipped:
            if is_directory:
                self._safe = dict(self._names)
                self._operations = []
            else:
                self._file(fd).sync()
        self._after()

    def _inode(self, data: bytes) -> Inode:
        self._inodes += 1
        return Inode(self._inodes, data)

    def _handle(self, inode: Inode) -> int:
        self._fd += 1
        self._open[self._fd] = [inode, 0]
        return self._fd

    def _file(self, fd: int) -> Inode:
        if self._stopped:
            raise Stopped
        return cast(Inode, self._open[fd][0])

    def _position(self, fd: int) -> int:
        if self._stopped:
            raise Stopped
        return cast(int, self._open[fd][1])

    def _find(self, name: bytes) -> Inode:
        if self._stopped:
            raise Stopped
        inode = self._names.get(name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return inode

    def _status(self, inode: Inode) -> os.stat_result:
        return os.stat_result(
            (stat.S_IFREG | 0o600, inode.number, 1, 1, 0, 0, len(inode.now), 0, 0, 0)
        )
