"""How much memory is left for more instances: of the machine, and of the control groups around us.

`MemoryReader` reads, `Relief` decides how many idle instances have to go.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs

ENOUGH = 1.5
"""How far available memory has to rise over the threshold before nobody more is stopped."""
MOST_AT_ONCE = 16


@attrs.frozen
class Memory:
    """What is available of what may be used, in bytes; `of` says whose it is."""

    available: int
    total: int
    of: str = "the machine"

    @property
    def share(self) -> float:
        """Available memory as a fraction of the total, 0 to 1."""
        return min(1.0, max(0.0, self.available / self.total)) if self.total > 0 else 1.0

    def __str__(self) -> str:
        return f"{self.share:.1%} of the memory of {self.of} is available"


class MemoryReader:
    """Reads the tightest of: the machine, and each control group of ours that has a limit."""

    def __init__(self, root: Path = Path("/")) -> None:
        """`root`: where proc and the control groups' file systems are mounted, for tests."""
        self._meminfo = root / "proc/meminfo"
        self._groups = _groups(root)

    def read(self) -> Memory | None:
        """Return what is left now, None where the system does not say. About 0.2 ms."""
        machine = _machine(self._meminfo)
        if machine is None:
            return None
        found = [machine]
        for group in self._groups:
            memory = group.read()
            # Without a limit some kernels give a number that no machine has.
            if memory is not None and memory.total < machine.total:
                found.append(memory)
        return min(found, key=lambda memory: memory.share)


@attrs.frozen
class _Group:
    """One control group's directory, and what its files are called."""

    directory: Path
    limit: str
    used: str
    inactive: bytes

    def read(self) -> Memory | None:
        try:
            limit = (self.directory / self.limit).read_bytes().strip()
            if not limit.isdigit():
                return None  # "max"
            used = int((self.directory / self.used).read_bytes())
            inactive = 0
            with suppress(OSError):
                inactive = _field((self.directory / "memory.stat").read_bytes(), self.inactive)
        except (OSError, ValueError):
            return None
        # Pages of files that nobody used lately are given up as soon as others need the room.
        available = int(limit) - max(0, used - inactive)
        return Memory(available, int(limit), f"control group {self.directory}")


def _groups(root: Path) -> list[_Group]:
    """Return our groups of both kinds and all that they are in."""
    try:
        ours = (root / "proc/self/cgroup").read_text()
        mounts = (root / "proc/self/mountinfo").read_text()
    except OSError:
        return []
    found = []
    for line in ours.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            names = ("memory.max", "memory.current", b"inactive_file")
            place = _mounted(mounts, "cgroup2", "")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", b"total_inactive_file")
            place = _mounted(mounts, "cgroup", "memory")
        else:
            continue
        if place is not None:
            found += [_Group(each, *names) for each in _upwards(root, *place, path)]
    return found


def _mounted(mounts: str, kind: str, option: str) -> tuple[str, str] | None:
    """Return (group that is mounted, where) of a control group file system."""
    for line in mounts.splitlines():
        fields, _, kinds = line.partition(" - ")
        words, what = fields.split(), kinds.split()
        if len(words) < 5 or not what or what[0] != kind:
            continue
        if not option or option in what[-1].split(","):
            return words[3], words[4]
    return None


def _upwards(root: Path, top: str, mount: str, path: str) -> list[Path]:
    """Return the directories of group `path` and of those that it is in, as far as mounted."""
    base = root / mount.lstrip("/")
    if path == top or path.startswith(top.rstrip("/") + "/"):
        below = path[len(top.rstrip("/")) :].strip("/")
    else:
        below = ""  # of another namespace: the mounted group is the nearest that can be seen
    directory = base / below
    found = [directory]
    while directory != base:
        directory = directory.parent
        found.append(directory)
    return [each for each in found if each.is_dir()]


def _machine(meminfo: Path) -> Memory | None:
    try:
        text = meminfo.read_bytes()
        available, total = _field(text, b"MemAvailable:"), _field(text, b"MemTotal:")
    except (OSError, ValueError):
        return None
    return Memory(available * 1024, total * 1024) if total > 0 else None


def _field(text: bytes, name: bytes) -> int:
    """Return the number after `name` at the start of a line. Raises ValueError."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == name:
            return int(words[1])
    raise ValueError(f"no {name!r}")


class Relief:
    """How many idle instances are to be stopped, from one measure to the next; no I/O.

    Begins below `threshold` (a share) and goes on until `ENOUGH` times that is available. One
    is stopped first; what that gave tells how many may follow without stopping too many.
    """

    def __init__(self, threshold: float) -> None:
        self._goal = ENOUGH * threshold
        self._threshold = threshold
        self._last: float | None = None
        self._stopped = 0

    @property
    def needed(self) -> bool:
        """Whether memory is being made available: another measure is wanted soon."""
        return self._last is not None

    def measured(self, share: float, candidates: int) -> int:
        """Take a measure and how many instances could be stopped; return how many are to be.

        They are taken for stopped, and their memory for free, at the next call.
        """
        if share >= (self._threshold if self._last is None else self._goal) or not candidates:
            self._last = None
            self._stopped = 0
            return 0
        count = self._next(share)
        self._last = share
        self._stopped = min(count, candidates)
        return self._stopped

    def _next(self, share: float) -> int:
        if self._last is None or not self._stopped:
            return 1
        most = min(MOST_AT_ONCE, 2 * self._stopped)
        gain = (share - self._last) / self._stopped
        if gain <= 0:
            return most  # others take it as fast
        return max(1, min(most, math.floor((self._goal - share) / gain)))


class Admission:
    """Whether there is memory for one more start, looking at most each `fresh` seconds."""

    def __init__(
        self,
        threshold: float,
        read: Callable[[], Memory | None],
        seconds: Callable[[], float],
        fresh: float = 0.2,
    ) -> None:
        self._threshold = threshold
        self._read = read
        self._seconds = seconds
        self._fresh = fresh
        self._at: float | None = None
        self._refused: Memory | None = None

    def refused(self) -> Memory | None:
        """Return the memory that is too little for a start, or None when there is enough."""
        now = self._seconds()
        if self._at is None or not 0 <= now - self._at < self._fresh:
            self._at = now
            memory = self._read()
            little = memory is not None and memory.share < self._threshold
            self._refused = memory if little else None
        return self._refused
