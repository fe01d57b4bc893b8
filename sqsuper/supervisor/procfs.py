"""Processes measured by the kernel's own files below /proc (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

from sqsuper.sockets.capabilities import HERE
from sqsuper.supervisor.figures import Detail, Figures

if HERE.proc:
    PAGE = os.sysconf("SC_PAGE_SIZE")
    TICKS = os.sysconf("SC_CLK_TCK")

# proc(5) counts them from 1; here from the state on, which is the third.
_USER, _SYSTEM, _THREADS, _RESIDENT = 14 - 3, 15 - 3, 20 - 3, 24 - 3


def available() -> bool:
    """Whether there are such files here."""
    return HERE.proc and Path("/proc/self/statm").exists() and Path("/proc/self/stat").exists()


class ProcGauge:
    """See `Gauge`. A file is kept open, and tells nothing of another process of that number."""

    __slots__ = ("_fd", "_pid", "_shared")

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._fd = -1
        self._shared = 0

    def figures(self) -> Figures | None:
        """See `Gauge`; one system call."""
        try:
            if self._fd < 0:
                self._fd = _open(self._pid, "stat")
                self._shared = int(_read(self._pid, "statm").split(None, 3)[2]) * PAGE
            fields = _fields(os.pread(self._fd, 8192, 0), _RESIDENT)
        except OSError:
            self.close()
            return None
        return Figures(
            (int(fields[_USER]) + int(fields[_SYSTEM])) / TICKS,
            int(fields[_THREADS]),
            int(fields[_RESIDENT]) * PAGE,
            self._shared,
        )

    def close(self) -> None:
        """See `Gauge`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class ProcSampler:
    """See `Sampler`. 15 µs for the figures; detail takes 100 µs, and 10 ms a GiB of memory."""

    def gauge(self, pid: int) -> ProcGauge:
        """See `Sampler`."""
        return ProcGauge(pid)

    def figures(self, pid: int) -> Figures | None:
        """See `Sampler`; two files are read."""
        try:
            stat, statm = _read(pid, "stat"), _read(pid, "statm")
        except OSError:
            return None
        fields = _fields(stat, _THREADS)
        pages = statm.split(None, 3)
        return Figures(
            (int(fields[_USER]) + int(fields[_SYSTEM])) / TICKS,
            int(fields[_THREADS]),
            int(pages[1]) * PAGE,
            int(pages[2]) * PAGE,
        )

    def detail(self, pid: int) -> Detail | None:
        """See `Sampler`."""
        try:
            sizes = _numbers(_read(pid, "smaps_rollup"))
        except OSError:
            return None
        if b"Pss" not in sizes:
            return None  # a zombie
        unique = sizes.get(b"Private_Clean", 0) + sizes.get(b"Private_Dirty", 0)
        read = written = descriptors = None
        try:
            moved = _numbers(_read(pid, "io"))
            read, written = moved[b"read_bytes"], moved[b"write_bytes"]
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        except (OSError, KeyError):
            pass
        return Detail(
            (sizes[b"Pss"] + sizes.get(b"SwapPss", 0)) * 1024,
            unique * 1024,
            descriptors,
            read,
            written,
        )


def _fields(stat: bytes, last: int) -> list[bytes]:
    """Return the fields of `stat` from the state on, up to that one."""
    # The name in parentheses may hold anything.
    return stat[stat.rindex(b")") + 2 :].split(None, last + 1)


def _open(pid: int, name: str) -> int:
    return os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)


def _read(pid: int, name: str) -> bytes:
    fd = _open(pid, name)
    try:
        return os.read(fd, 8192)
    finally:
        os.close(fd)


def _numbers(text: bytes) -> dict[bytes, int]:
    """Read lines such as `Pss:  12 kB`; lines without a number are left out."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(b":")
        words = value.split(None, 1)
        if words and words[0].isdigit():
            found[name] = int(words[0])
    return found
