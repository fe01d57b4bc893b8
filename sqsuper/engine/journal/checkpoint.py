"""Replacing a file in steps, so that a loop or a thread can do other things between them."""

from __future__ import annotations

from contextlib import suppress

from sqsuper.engine.journal.identity import IdentityHash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqsuper.engine.disk import Disk
    from sqsuper.engine.journal.identity import Identity

_WRITE_BYTES = 1 << 20


class Replacement:
    """A file's next contents: `step` until it says no, then `place`, or at any time `abandon`.

    `directory`: the open directory that holds `filename`; `temporary`: a name in it, beginning
    with a dot, that nothing has. `pieces`: the contents. Every method raises OSError; after that,
    `abandon`.
    """

    __slots__ = (
        "_directory",
        "_disk",
        "_fd",
        "_filename",
        "_hash",
        "_made",
        "_pieces",
        "_temporary",
    )

    def __init__(
        self,
        disk: Disk,
        directory: int,
        filename: bytes,
        temporary: bytes,
        pieces: Iterable[bytes],
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._filename = filename
        self._temporary = temporary
        self._pieces = iter(pieces)
        self._hash = IdentityHash()
        self._fd = -1
        self._made = False

    @property
    def identity(self) -> Identity:
        """What was written, once `step` has said no: the target to record before `place`."""
        return self._hash.identity()

    def step(self) -> bool:
        """Write one piece; at the end make the file durable and return False."""
        disk = self._disk
        if self._fd < 0:
            self._fd = disk.create(self._temporary, self._directory)
            self._made = True
        piece = next(self._pieces, None)
        if piece is not None:
            self._hash.update(piece)
            with memoryview(piece) as view:
                done = 0
                while done < len(view):
                    done += disk.write(self._fd, view[done : done + _WRITE_BYTES])
            return True
        disk.fsync(self._fd)
        fd, self._fd = self._fd, -1
        disk.close(fd)
        return False

    def place(self) -> None:
        """Rename the file into place and return when that is durable.

        If it raises, either file may be in place after a crash.
        """
        self._disk.rename(self._temporary, self._filename, self._directory)
        self._made = False
        self._disk.fsync(self._directory)

    def abandon(self) -> None:
        """Remove what is not in place yet. Raises nothing; idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                self._disk.close(fd)
        if self._made:
            self._made = False
            with suppress(OSError):
                self._disk.unlink(self._temporary, self._directory)
