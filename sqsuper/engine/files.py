"""Phext files under an open directory: as they are read, sent, and replaced."""

from __future__ import annotations

from sqsuper.engine.journal.checkpoint import Replacement

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from sqsuper.engine.disk import Disk
    from sqsuper.engine.journal.identity import Identity

    # device, inode, size, time of change: differ when a file is another one or was changed
    Signature = tuple[int, int, int, int]

_STREAM_BYTES = 1 << 16


def signature(status: os.stat_result) -> Signature:
    """Return what tells a file's states apart."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class File:
    """What was read: the bytes, and the signature of the file that held them."""

    __slots__ = ("data", "signature")

    def __init__(self, data: bytes, signature: Signature) -> None:
        self.data = data
        self.signature = signature


class Parent:
    """The open directory that holds a place, and the file's name in it. Raises OSError.

    `root`: the open data directory.
    """

    __slots__ = ("_disk", "_opened", "_place", "_root")

    def __init__(self, disk: Disk, root: int, place: bytes) -> None:
        self._disk = disk
        self._root = root
        self._place = place
        self._opened: list[int] = []

    def __enter__(self) -> tuple[int, bytes]:
        *parts, filename = self._place.split(b"/")
        directory = self._root
        try:
            for part in parts:
                directory = self._disk.open_directory(part, directory)
                self._opened.append(directory)
        except BaseException:
            self.__exit__()
            raise
        return directory, filename

    def __exit__(self, *_error: object) -> None:
        opened, self._opened = self._opened, []
        for fd in opened:
            self._disk.close(fd)


class PhextFile:
    """A phext file's next contents: `step` until it says no, `place`, and `close` in any case.

    Its methods are for any one thread at a time; all but `close` raise OSError.
    """

    __slots__ = ("_disk", "_fd", "_filename", "_replacement", "_temporary", "_under")

    def __init__(
        self,
        disk: Disk,
        root: int,
        place: bytes,
        temporary: bytes,
        pieces: Iterable[bytes],
    ) -> None:
        self._disk = disk
        self._temporary = temporary
        self._under = Parent(disk, root, place)
        self._fd, self._filename = self._under.__enter__()
        self._replacement = Replacement(disk, self._fd, self._filename, temporary, pieces)

    @property
    def identity(self) -> Identity:
        """Of what was written, once `step` has said no."""
        return self._replacement.identity

    def step(self) -> bool:
        """Write one piece; at the end make the file durable and return False."""
        return self._replacement.step()

    def replaced(self) -> Signature | None:
        """Return the signature of the file that is in place now, None where there is none."""
        try:
            return signature(self._disk.lstat(self._filename, self._fd))
        except FileNotFoundError:
            return None

    def place(self) -> Signature:
        """Rename the file into place; return its signature when that is durable."""
        made = signature(self._disk.lstat(self._temporary, self._fd))
        self._replacement.place()
        return made

    def close(self) -> None:
        """Remove what is not in place and close everything. Idempotent."""
        self._replacement.abandon()
        self._under.__exit__()


class ReadFile:
    """As `OpenFile`, of a file that was read and is not open any more: there is no `fd`."""

    __slots__ = ("_data", "fd", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.fd = -1
        self.position = 0

    def read(self) -> bytes:
        """Return the next piece; empty at the end."""
        piece = self._data[self.position : self.position + _STREAM_BYTES]
        self.position += len(piece)
        return piece

    def read_all(self) -> bytes:
        """Return all that is left."""
        left, self.position = self._data[self.position :], len(self._data)
        return left


class OpenFile:
    """An open file's bytes, one after the other. It is open until it is dropped."""

    __slots__ = ("_disk", "fd", "position")

    def __init__(self, disk: Disk, fd: int) -> None:
        self._disk = disk
        self.fd = fd
        self.position = 0

    def read(self) -> bytes:
        """Return the next piece; empty at the end. Raises OSError."""
        piece = self._disk.pread(self.fd, _STREAM_BYTES, self.position)
        self.position += len(piece)
        return piece

    def read_all(self) -> bytes:
        """Return all that is left. Raises OSError."""
        pieces = []
        while piece := self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def __del__(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self._disk.close(fd)
