"""What the workers count together, in memory that they share.

A file without a name, mapped by all: for each worker a row of how many connections it has, in
all and by address, and bytes of spooled bodies, which only that worker writes; for each tenant
with a rate its bucket, written under a lock of the file's. A worker that dies leaves its row,
which `clear` empties.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import tempfile
import time
from pathlib import Path
from zlib import crc32

from sqsuper.gateway.limits import Connections, address_key
from sqsuper.gateway.spool import SpoolError, SpoolRoom

try:
    import fcntl
except ImportError:  # where there are no workers
    fcntl = None  # type: ignore[assignment]

# Addresses are counted by a hash: one counter for those few that share it.
ADDRESSES = 32_768
MAX_RATES = 65_536

_HEADER = 2
_SPOOLED = 1
_ROW = 4 * (_HEADER + ADDRESSES)
_BUCKET = struct.Struct("dd")
# Of a lock whose holder does not run; then it is done without.
_LOCK_TRIES = 200


class Board:
    """The memory, of `workers` rows. `fd` is what a worker inherits."""

    def __init__(self, fd: int, workers: int) -> None:
        """Map what `create` made."""
        self.fd = fd
        self.workers = workers
        self._rates_at = workers * _ROW
        self.memory = mmap.mmap(fd, self._rates_at + MAX_RATES * _BUCKET.size)
        self.counts = memoryview(self.memory)[: self._rates_at].cast("I")

    @classmethod
    def create(cls, directory: Path, workers: int) -> Board:
        """Make the memory, all zero; where it must be a file, in `directory`. Raises OSError."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("sqsuper-workers", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile(dir=directory) as file:
                fd = os.dup(file.fileno())
        try:
            os.ftruncate(fd, workers * _ROW + MAX_RATES * _BUCKET.size)
            return cls(fd, workers)
        except BaseException:
            os.close(fd)
            raise

    def row(self, worker: int) -> int:
        """Return where a worker's counts begin: connections, bytes spooled, then by address."""
        return worker * (_HEADER + ADDRESSES)

    def others(self, worker: int) -> list[int]:
        """Return where the counts of all the others begin."""
        return [self.row(other) for other in range(self.workers) if other != worker]

    def clear(self, worker: int) -> None:
        """Forget what a worker had that has ended."""
        at = worker * _ROW
        self.memory[at : at + _ROW] = bytes(_ROW)

    def bucket_at(self, index: int) -> int:
        """Return where the bucket of a tenant is, by its index."""
        return self._rates_at + index * _BUCKET.size

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if self.fd >= 0:
            self.counts.release()
            self.memory.close()
            os.close(self.fd)
            self.fd = -1


class SharedConnections(Connections):
    """Open client connections of all workers; this one's are written to its row."""

    def __init__(
        self, limit: int, limit_per_address: int | None, board: Board, worker: int
    ) -> None:
        super().__init__(limit, limit_per_address)
        self._board = board
        self._own = board.row(worker)
        self._others = board.others(worker)

    def enter(self, address: str) -> bool:
        """See `Connections.enter`; those of the others count too."""
        counts = self._board.counts
        key = address_key(address)
        at = _HEADER + crc32(key.encode()) % ADDRESSES
        elsewhere = sum(counts[other] for other in self._others)
        here = sum(counts[other + at] for other in self._others) if address else 0
        if not self._admit(key, bool(address), elsewhere, here):
            return False
        counts[self._own] += 1
        counts[self._own + at] += 1
        return True

    def leave(self, address: str) -> None:
        """See `Connections.leave`."""
        super().leave(address)
        counts = self._board.counts
        counts[self._own] -= 1
        counts[self._own + _HEADER + crc32(address_key(address).encode()) % ADDRESSES] -= 1


class SharedSpoolRoom(SpoolRoom):
    """Room for the spooled bodies of all workers; what this one uses is written to its row."""

    def __init__(self, directory: Path, board: Board, worker: int) -> None:
        self._counts = board.counts
        self._at = board.row(worker) + _SPOOLED
        self._others = [row + _SPOOLED for row in board.others(worker)]
        super().__init__(directory)

    @property
    def used(self) -> int:
        """How much this worker uses."""
        return self._counts[self._at]

    @used.setter
    def used(self, count: int) -> None:
        self._counts[self._at] = count

    def take(self, count: int) -> None:
        """See `SpoolRoom.take`; that of the others counts too."""
        if self.used + sum(self._counts[other] for other in self._others) + count > self.limit:
            raise SpoolError
        self.used += count


class SharedBucket:
    """One tenant's rate over all workers: as `rate.TokenBucket`, in shared memory.

    Times are of the system's monotonic clock, which all processes share.
    """

    __slots__ = ("_at", "_board", "burst", "per_second")

    def __init__(self, per_second: float, burst: int, board: Board, index: int) -> None:
        """Go on with what is there; a bucket that was never used is full."""
        self.per_second = per_second
        self.burst = burst
        self._board = board
        self._at = board.bucket_at(index)

    def take(self, now: float) -> int | None:
        """See `TokenBucket.take`; `now` is not looked at."""
        locked = self._lock()
        try:
            now = time.monotonic()
            used: float
            at: float
            used, at = _BUCKET.unpack_from(self._board.memory, self._at)
            # What is used flows off; memory that is all zero is a full bucket.
            used = max(0.0, used - max(0.0, now - at) * self.per_second)
            if used <= self.burst - 1 + 1e-9:
                _BUCKET.pack_into(self._board.memory, self._at, used + 1.0, now)
                return None
            return max(1, math.ceil((used - (self.burst - 1)) / self.per_second - 1e-6))
        finally:
            if locked:
                fcntl.lockf(self._board.fd, fcntl.LOCK_UN, _BUCKET.size, self._at)

    def _lock(self) -> bool:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.lockf(self._board.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _BUCKET.size, self._at)
            except OSError:
                continue
            return True
        return False
