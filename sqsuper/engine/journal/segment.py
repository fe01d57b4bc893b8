"""A segment's file: made whole under another name, then renamed; overwritten group by group."""

from __future__ import annotations

from contextlib import suppress

from sqsuper.engine.journal.format import HEADER_BYTES, segment_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.disk import Disk
    from sqsuper.engine.journal.format import Header

_ZEROS = bytes(1 << 18)


def temporary_name(name: bytes) -> bytes:
    """Return the name under which a segment is made; the data directory sweeps such names."""
    return b".sqsuper%b.tmp" % name.replace(b".", b"-", 1)


class Segment:
    """One segment of a journal that is being written.

    `position`: where the next group goes. `last`: for each place with records here, the group
    up to which it must be checkpointed before this file may go. `stated`: the places whose file
    is stated here.
    """

    __slots__ = ("_fd", "header", "last", "name", "position", "stated")

    def __init__(self, header: Header) -> None:
        self.header = header
        self.name = segment_name(header.generation, header.index)
        self.position = HEADER_BYTES
        self.last: dict[bytes, int] = {}
        self.stated: set[bytes] = set()
        self._fd = -1

    @property
    def room(self) -> int:
        """How many bytes of groups it can still take."""
        return self.header.size - HEADER_BYTES - self.position

    def create(self, disk: Disk, directory: int, group: bytes | bytearray = b"") -> None:
        """Make the file, durably, with a first group in it. Raises OSError.

        After a failure the file may or may not be there, whole.
        """
        temporary = temporary_name(self.name)
        fd = disk.create(temporary, directory)
        try:
            header = self.header.pack()
            _write_all(disk, fd, header)
            _write_all(disk, fd, group)
            left = self.header.size - 2 * HEADER_BYTES - len(group)
            while left > 0:
                left -= disk.write(fd, _ZEROS if left >= len(_ZEROS) else _ZEROS[:left])
            _write_all(disk, fd, header)
            disk.fsync(fd)
            disk.rename(temporary, self.name, directory)
        except BaseException:
            with suppress(OSError):
                disk.close(fd)
            with suppress(OSError):
                disk.unlink(temporary, directory)
            raise
        self._fd = fd
        disk.fsync(directory)

    def write(self, disk: Disk, offset: int, group: bytes | bytearray) -> None:
        """Write a group and return when it is durable. Raises OSError."""
        with memoryview(group) as view:
            done = 0
            while done < len(view):
                done += disk.pwrite(self._fd, view[done:], offset + done)
        disk.fdatasync(self._fd)

    def close(self, disk: Disk) -> None:
        """Close the file. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # all that counts is synced
                disk.close(fd)


def _write_all(disk: Disk, fd: int, data: bytes | bytearray) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += disk.write(fd, view[done : done + (1 << 20)])
