"""Processes measured where there is no /proc, and the table of who is in whose session."""

from __future__ import annotations

import os
from collections.abc import Callable

import psutil

from sqsuper.sockets.capabilities import HERE
from sqsuper.supervisor import procfs
from sqsuper.supervisor.figures import Detail, Figures, Sampler


class PsutilGauge:
    """See `Gauge`."""

    def __init__(self, sampler: PsutilSampler, pid: int) -> None:
        self._sampler = sampler
        self._pid = pid

    def figures(self) -> Figures | None:
        """See `Gauge`."""
        return self._sampler.figures(self._pid)

    def close(self) -> None:
        """See `Gauge`."""


class PsutilSampler:
    """See `Sampler`; works everywhere, for 20 times the cost of /proc."""

    def gauge(self, pid: int) -> PsutilGauge:
        """See `Sampler`."""
        return PsutilGauge(self, pid)

    def figures(self, pid: int) -> Figures | None:
        """See `Sampler`."""
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
                return Figures(
                    times.user + times.system,
                    process.num_threads(),
                    memory.rss,
                    getattr(memory, "shared", 0),
                )
        except psutil.Error:
            return None

    def detail(self, pid: int) -> Detail | None:
        """See `Sampler`."""
        try:
            process = psutil.Process(pid)
            memory = process.memory_full_info()
            read = written = descriptors = None
            try:
                descriptors = process.num_fds()
                moved = process.io_counters()
                read, written = moved.read_bytes, moved.write_bytes
            except (psutil.Error, AttributeError):
                pass  # not everywhere, and not of everybody
        except psutil.Error:
            return None
        share = getattr(memory, "pss", memory.uss) + getattr(memory, "swap", 0)
        return Detail(share, memory.uss, descriptors, read, written)


def sampler() -> Sampler:
    """Return the cheapest that works here."""
    return procfs.ProcSampler() if procfs.available() else PsutilSampler()


class Sessions:
    """Who is in whose session: one look at the process table for all that ask within a second.

    An instance leads a session of its own, and what it forks is in it. `clock` is in seconds.
    """

    FRESH = 1.0

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._read_at = float("-inf")
        self._members: dict[int, list[int]] = {}

    def members(self, leader: int) -> list[int]:
        """Return the pids in the session of `leader`, its own aside.

        Where there are no sessions, those that descend from it while what is between them lives.
        """
        if not HERE.groups:
            return _descendants(leader)
        now = self._clock()
        if not 0 <= now - self._read_at < self.FRESH:
            self._read_at = now
            self._members = _table()
        return [pid for pid in self._members.get(leader, ()) if pid != leader]


def _descendants(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _table() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    getsid = os.getsid
    for pid in psutil.pids():
        try:
            found.setdefault(getsid(pid), []).append(pid)
        except OSError:
            continue  # gone meanwhile
    return found
