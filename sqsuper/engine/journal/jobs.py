"""Work on whole segment files that another thread does, off the way of requests."""

from __future__ import annotations

from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.disk import Disk
    from sqsuper.engine.journal.segment import Segment


class Preparation:
    """Making a segment ahead of need. `ready`: whether it is there, durably."""

    __slots__ = ("_directory", "_disk", "ready", "segment")

    def __init__(self, disk: Disk, directory: int, segment: Segment) -> None:
        self._disk = disk
        self._directory = directory
        self.segment = segment
        self.ready = False

    def run(self) -> None:
        """Make it. Raises OSError."""
        self.segment.create(self._disk, self._directory)
        self.ready = True


class Removal:
    """Removing segments, in the order given. `removed`: those that are gone, durably."""

    __slots__ = ("_directory", "_disk", "_names", "removed")

    def __init__(self, disk: Disk, directory: int, names: list[bytes]) -> None:
        self._disk = disk
        self._directory = directory
        self._names = names
        self.removed: list[bytes] = []

    def run(self) -> None:
        """Remove them. Raises OSError at the first that cannot be removed durably.

        Each one is gone for good before the next is touched: if a crash brought back an older
        segment than one that stays away, groups would be missing between them.
        """
        for name in self._names:
            # Missing: never made, or removed before a sync that failed
            with suppress(FileNotFoundError):
                self._disk.unlink(name, self._directory)
            self._disk.fsync(self._directory)
            self.removed.append(name)
