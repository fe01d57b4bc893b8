"""What a crashed supervisor leaves for the next: a record per running process group."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

from sqsuper.supervisor import groups
from sqsuper.supervisor.groups import Group

RECORD = re.compile(r"[0-9a-f]{32}\.group\Z")
HALF_WRITTEN = re.compile(r"\.[0-9a-f]{32}\.group\Z")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
SOCKET = re.compile(r"[0-9]{1,6}-[0-9]{1,12}\.sock\Z")


def socket_name(index: int, epoch: int) -> str:
    """Name of the socket of one epoch of the tenant at `index`: at most 24 bytes."""
    return f"{index}-{epoch}.sock"


class Records:
    """The records in one run directory: `<marker>.group`, JSON, 0600, replaced atomically."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, group: Group) -> None:
        """Keep `group`; raises OSError."""
        path = self._path(group)
        part = path.with_name(f".{path.name}")
        text = json.dumps(
            {
                "tenant": group.tenant,
                "pid": group.pid,
                "start": group.start,
                "boot": group.boot,
                "alive_at": group.alive_at,
                "marker": group.marker,
            }
        )
        fd = os.open(part, _FLAGS, 0o600)
        try:
            # No sync: a record outlives processes, but has no meaning after a power cut.
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        os.replace(part, path)

    def remove(self, group: Group) -> None:
        """Forget `group`; nothing happens when there is no record."""
        self._path(group).unlink(missing_ok=True)

    def read(self) -> list[Group]:
        """Return the readable records of this boot; others are removed, they name nothing."""
        found = []
        boot = groups.boot_id()
        for path in sorted(self._directory.iterdir()):
            if HALF_WRITTEN.match(path.name):
                path.unlink(missing_ok=True)
            elif RECORD.match(path.name):
                group = _read(path)
                if group is None or group.boot != boot:
                    path.unlink(missing_ok=True)
                else:
                    found.append(group)
        return found

    def remove_sockets(self) -> int:
        """Remove the sockets that a crash left; return their number."""
        count = 0
        for path in self._directory.iterdir():
            if SOCKET.match(path.name) and stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink(missing_ok=True)
                count += 1
        return count

    def _path(self, group: Group) -> Path:
        return self._directory / f"{group.marker}.group"


def _read(path: Path) -> Group | None:
    try:
        fields = json.loads(path.read_bytes())
        group = Group(**{key: fields[key] for key in _FIELDS})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    texts = (group.tenant, group.start, group.boot, group.alive_at, group.marker)
    well_formed = (
        type(group.pid) is int
        and group.pid > 1
        and all(isinstance(text, str) for text in texts)
        and path.name == f"{group.marker}.group"
    )
    return group if well_formed else None


_FIELDS = ("tenant", "pid", "start", "boot", "alive_at", "marker")
