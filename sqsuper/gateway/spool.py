"""Request bodies that must be read to their end before anything of them goes on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO

from sqsuper.gateway.wire import Wire

MEMORY_LIMIT = 1024 * 1024
TOTAL_LIMIT = 1024 * 1024 * 1024
PIECE = 65_536
# Of a file, at once: others have their turn in between.
FILE_PIECE = 1024 * 1024


class SpoolError(Exception):
    """All spooled bodies together are over the limit, or the disk is full."""


class SpoolRoom:
    """Where bodies are spooled: in `directory`, `limit` bytes in all (in memory or not)."""

    def __init__(self, directory: Path, limit: int = TOTAL_LIMIT) -> None:
        self.directory = directory
        self.limit = limit
        self.used = 0

    def take(self, count: int) -> None:
        """Raises SpoolError, with nothing taken, when `count` bytes do not fit."""
        if self.used + count > self.limit:
            raise SpoolError
        self.used += count


class Spool:
    """One body: in memory up to 1 MiB, from there on in a file without a name."""

    def __init__(self, room: SpoolRoom) -> None:
        self._room = room
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.length = 0

    def write(self, data: bytes) -> None:
        """Append. After SpoolError the body is of no use but to be closed."""
        self._room.take(len(data))
        self.length += len(data)
        if self._file is None and self.length > MEMORY_LIMIT:
            self._to_file()
        if self._file is None:
            self._memory += data
        else:
            self._put(data)

    def pieces(self) -> SpoolPieces:
        """Return what sends the body piece by piece, from its start; after the last `write`."""
        return SpoolPieces(self._memory, self._file, self.length)

    def close(self) -> None:
        """Forget the body. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._room.used -= self.length
        self._memory = bytearray()
        self.length = 0

    def _to_file(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115  # open as long as the body
                dir=self._room.directory, buffering=0
            )
        except OSError as error:
            raise SpoolError from error
        memory, self._memory = bytes(self._memory), bytearray()
        self._put(memory)

    def _put(self, data: bytes) -> None:
        assert self._file is not None
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise SpoolError from error


class SpoolPieces:
    """The pieces of one spooled body of `length` bytes, in order."""

    def __init__(self, memory: bytearray, file: IO[bytes] | None, length: int) -> None:
        self._memory = memory
        self._file = file
        self._length = length
        self._position = 0

    def send(self, wire: Wire) -> bool | None:
        """Send the next piece; return whether `wire` takes more, or None at the end."""
        left = self._length - self._position
        if not left:
            return None
        if self._file is not None:
            count = min(left, FILE_PIECE)
            sent, more = wire.send_file(self._file.fileno(), self._position, count)
        else:
            piece = bytes(self._memory[self._position : self._position + PIECE])
            sent, more = len(piece), wire.send(piece)
        self._position += sent
        return more
