"""Who holds what we cannot have: a TCP port, a lock on a directory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import psutil

from sqsuper.sockets.capabilities import HERE

# States and columns of /proc/net/tcp, where listeners come first.
_LISTEN = b"0A"
_LOCAL, _STATE, _INODE = 1, 3, 9


@attrs.frozen
class Holder:
    """A process; `name` is empty when it may not be known."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"pid {self.pid}, {self.name}" if self.name else f"pid {self.pid}"


def of_port(port: int, within: float | None = None) -> Holder | None:
    """Return who listens on a local TCP port, as far as this user may know.

    `within`: give up after about so many seconds of CPU time; the next call for the same
    listener goes on where this one stopped, and who was found once is found at once.
    """
    if not (HERE.proc and Path("/proc/net/tcp").exists()):
        return _by_psutil(port)
    listeners = _listeners(port)
    until = None if within is None else time.thread_time() + within
    for inode in listeners:
        pid = _searches.owner(inode, until)
        if pid is not None:
            return _named(pid)
    return None


def of_lock(fd: int) -> Holder | None:
    """Return who has a `flock` on what `fd` is open to, where the system tells it."""
    try:
        inode = os.fstat(fd).st_ino
        for line in Path("/proc/locks").read_text("ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                return _named(int(words[4]))
    except (OSError, ValueError, IndexError):
        pass
    return None


def _by_psutil(port: int) -> Holder | None:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                return _named(connection.pid)
    except (psutil.Error, OSError):
        pass
    return None


def _listeners(port: int) -> list[str]:
    """Return the inodes of the sockets that listen at `port`, on any address."""
    wanted = b":%04X" % port
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, "rb") as lines:
                next(lines, None)
                for line in lines:
                    columns = line.split(None, _INODE + 1)
                    if columns[_STATE] != _LISTEN:
                        break
                    if columns[_LOCAL].endswith(wanted):
                        found.append(columns[_INODE].decode())
        except (OSError, IndexError):
            continue
    return found


class _Search:
    """The search for the process that has one socket open: its course, or its result."""

    __slots__ = ("_left", "_link", "_pid")

    def __init__(self, inode: str) -> None:
        self._link = f"socket:[{inode}]"
        self._left: Iterator[int] | None = None
        self._pid: int | None = None

    def owner(self, until: float | None) -> int | None:
        """Return a process that has it open; None if there is none to see, or time is up."""
        if self._pid is not None and self._has(self._pid):
            return self._pid
        self._pid = None
        if self._left is None:
            # The newest are looked at first: who took a port of ours came after us, mostly.
            pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
            self._left = iter(sorted(pids, reverse=True))
        for pid in self._left:
            if self._has(pid):
                self._pid, self._left = pid, None
                return pid
            if until is not None and time.thread_time() > until:
                return None
        self._left = None
        return None

    def _has(self, pid: int) -> bool:
        try:
            with os.scandir(f"/proc/{pid}/fd") as descriptors:
                return any(os.readlink(entry.path) == self._link for entry in descriptors)
        except OSError:
            return False


class _Searches:
    """The last few searches, by inode."""

    LIMIT = 64

    def __init__(self) -> None:
        self._of: dict[str, _Search] = {}

    def owner(self, inode: str, until: float | None) -> int | None:
        search = self._of.pop(inode, None) or _Search(inode)
        self._of[inode] = search
        if len(self._of) > self.LIMIT:
            del self._of[next(iter(self._of))]
        return search.owner(until)


_searches = _Searches()


def _named(pid: int) -> Holder:
    try:
        return Holder(pid, psutil.Process(pid).name())
    except psutil.Error:
        return Holder(pid, "")
