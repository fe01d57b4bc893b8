"""What a checkpoint's thread does: writes what it is handed, looks, and puts the file in place."""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqsuper.engine.directory import DataDirectory
    from sqsuper.engine.files import PhextFile, Signature
    from sqsuper.engine.journal.identity import Identity
    from sqsuper.engine.loaded import Phext

# How much is written at a time.
_WRITE_BYTES = 1 << 18
# Blocks of a document that are made one piece at most: where scrolls are short and far apart they
# take more time than bytes.
_MOST_BLOCKS = 8


class Look:
    """Whether the file in place is still the one that a phext was read from. For a thread.

    `run` sets `is_changed`, and then `identity`, of the file that is there; `place` sets
    `placed`, the new file's signature.
    """

    __slots__ = ("_directory", "_file", "_found", "_phext", "identity", "is_changed", "placed")

    def __init__(self, directory: DataDirectory, phext: Phext, file: PhextFile) -> None:
        self._directory = directory
        self._phext = phext
        self._file = file
        self._found: Signature | None = None
        self.identity: Identity = None
        self.is_changed = False
        self.placed: Signature | None = None

    def run(self) -> None:
        self._found = found = self._file.replaced()
        # Where there is none any more, what we have is put back: nothing is lost by that.
        self.is_changed = found is not None and found != self._phext.signature
        if self.is_changed:
            phext = self._phext
            self.identity, self._found = self._directory.identity(phext.name, phext.place)

    def place(self) -> None:
        if self._file.replaced() != self._found:
            raise OSError(errno.EBUSY, "the file is being changed by someone else")
        self.placed = self._file.place()


class Handed:
    """What a file is written from: at each step the one piece that was put here for it."""

    __slots__ = ("piece",)

    def __init__(self) -> None:
        self.piece: bytes | None = None

    def __iter__(self) -> Handed:
        return self

    def __next__(self) -> bytes:
        piece, self.piece = self.piece, None
        if piece is None:
            raise StopIteration
        return piece

    @staticmethod
    def giving(step: Callable[[], bool]) -> Callable[[], None]:
        """Return what makes one step, whether or not there are more."""

        def once() -> None:
            step()

        return once


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join pieces to larger ones; those that are large already stay as they are."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) >= _WRITE_BYTES:
            if gathered:
                yield b"".join(gathered)
                gathered.clear()
                size = 0
            yield piece
            continue
        gathered.append(piece)
        size += len(piece)
        if size >= _WRITE_BYTES or len(gathered) >= _MOST_BLOCKS:
            yield b"".join(gathered)
            gathered.clear()
            size = 0
    if gathered:
        yield b"".join(gathered)
