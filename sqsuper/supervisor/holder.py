"""Who holds what we cannot have: a TCP port, a lock on a directory."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import psutil


@attrs.frozen
class Holder:
    """A process; `name` is empty when it may not be known."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"pid {self.pid}, {self.name}" if self.name else f"pid {self.pid}"


def of_port(port: int) -> Holder | None:
    """Return who listens on a local TCP port, as far as this user may know."""
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


def _named(pid: int) -> Holder:
    try:
        return Holder(pid, psutil.Process(pid).name())
    except psutil.Error:
        return Holder(pid, "")
