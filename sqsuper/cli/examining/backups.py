"""Backups: are they made as they should be, is there room for the next, can they be read."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs

from sqsuper.backup import files, schedule, shelf
from sqsuper.backup.errors import ArchiveError
from sqsuper.backup.restoring import verify
from sqsuper.backup.targets import directory_of
from sqsuper.cli.examining.finding import Finding, bad, ok, warning
from sqsuper.cli.terminal import moment, size, span
from sqsuper.config.model import Config
from sqsuper.config.permissions import Account

AREA = "backups"
# Without a schedule one that is made by hand, or by another program, counts for so long.
_RECENT = 2 * 86400.0
# The newest archive is read whole, but for no longer than this.
_READ_FOR = 2.0
_MOST_LOOKED_AT = 100
_GZIP = b"\x1f\x8b"


@attrs.frozen
class Asked:
    """`now`: seconds since the epoch; `running`: the service answers; `account`: whose it is,
    None: that of who asks.
    """

    now: float
    running: bool
    account: Account | None = None
    usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage


def backups(config: Config, asked: Asked) -> Iterator[Finding]:
    """Look at the schedule, the directory, the space and the archives. Changes nothing."""
    directory = directory_of(config)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        names = []
    except OSError as error:
        yield bad(AREA, f"{directory}: {error.strerror}", "run as its owner, or mend backup.dir")
        return
    found = shelf.all_of(names)
    yield from _made(config, asked, found)
    if config.backup.at is not None or names:
        yield from _writable(directory, asked.account)
    sizes = {one.name: _size(directory / one.name) for one in found}
    yield from _space(directory, asked, found, sizes)
    yield from _readable(directory, found)


def _made(config: Config, asked: Asked, found: Iterable[shelf.Shelved]) -> Iterator[Finding]:
    at, now = config.backup.at, asked.now
    if at is None:
        last = next((one for one in found if one.complete and one.tenant is None), None)
        if last is not None and now - last.made < _RECENT:
            ago = span(now - last.made)
            yield ok(AREA, f"none is scheduled, but {last.name} was made {ago} ago")
        else:
            yield warning(AREA, "none is scheduled", 'set backup.at to a time such as "03:30"')
        return
    whole = next((one for one in found if one.daily and one.complete), None)
    newest = next((one for one in found if one.daily), None)
    if newest is not None and not newest.complete:
        yield warning(
            AREA, f"{newest.name} lacks tenants", f"sqsuper verify {newest.name} tells which"
        )
    if whole is None:
        told = f"one is scheduled for {at} each day, and no whole one was made yet"
        soon = "the service makes one soon after its start; if not, its log tells why"
        yield warning(AREA, told, soon if asked.running else "start the service")
        return
    told = f"the last whole daily one was made {span(now - whole.made)} ago"
    if schedule.is_overdue(at, now, last=whole.made):
        due = moment(schedule.last_due(at, now - schedule.PATIENCE))
        level, remedy = (
            (bad, "the service's log tells why; `sqsuper backup` makes one by hand")
            if asked.running
            else (warning, "start the service, which makes one then")
        )
        yield level(AREA, f"{told}, and that of {due} is missing", remedy)
    else:
        yield ok(AREA, f"{told}, the next is due {moment(schedule.next_due(at, now))}")


def _writable(directory: Path, account: Account | None) -> Iterator[Finding]:
    there = directory
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    try:
        status = os.stat(there)
    except OSError as error:
        yield bad(AREA, f"{there}: {error.strerror}", "have backup.dir name another directory")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield bad(AREA, f"{there} is no directory", "have backup.dir name another one")
    elif not _may_write(there, status, account):
        whose = "this user" if account is None else f"the service's user (uid {account.uid})"
        yield bad(
            AREA,
            f"archives cannot be written to {directory}: {there} is not {whose}'s to write",
            f"chown it to uid {os.geteuid() if account is None else account.uid}",
        )
    elif there == directory and status.st_mode & stat.S_IWOTH:
        yield bad(AREA, f"everyone can write to {directory}", f"chmod o-w {directory}")


def _may_write(directory: Path, status: os.stat_result, account: Account | None) -> bool:
    if account is None:
        return os.access(directory, os.W_OK | os.X_OK)
    shift = 6 if status.st_uid == account.uid else 3 if status.st_gid == account.gid else 0
    return status.st_mode >> shift & 0o3 == 0o3


def _space(
    directory: Path, asked: Asked, found: Iterable[shelf.Shelved], sizes: dict[str, int | None]
) -> Iterator[Finding]:
    """Look whether the next archive fits beside those that there are."""
    last = next((one for one in found if one.tenant is None and sizes[one.name]), None)
    if last is None:
        return
    taken = sizes[last.name] or 0
    try:
        free = asked.usage(directory)[2]
    except OSError as error:
        yield bad(AREA, f"{directory}: {error.strerror}", "mend backup.dir")
        return
    told = f"{size(free)} are free in {directory}, and {last.name} took {size(taken)}"
    remedy = "free some, lower backup.keep, or have backup.dir name another disk"
    if free < taken:
        yield bad(AREA, told, remedy)
    elif free < 2 * taken:
        yield warning(AREA, told, remedy)


def _readable(directory: Path, found: list[shelf.Shelved]) -> Iterator[Finding]:
    broken: dict[str, str] = {}
    for one in found[:_MOST_LOOKED_AT]:
        why = _unreadable(directory / one.name)
        if why:
            broken[one.name] = why
    whole = next((one for one in found if one.complete and one.name not in broken), None)
    if whole is not None:
        try:
            _read(directory / whole.name)
        except ArchiveError as error:
            broken[whole.name] = error.why
        else:
            fine = len(found[:_MOST_LOOKED_AT]) - len(broken)
            yield ok(AREA, f"{fine} archives can be read; {whole.name} was looked into")
    for name, why in broken.items():
        yield bad(
            AREA,
            f"{directory / name} cannot be read: {why}",
            "remove it, and look at the disk and whose file it is; `sqsuper backup` makes another",
        )


def _unreadable(file: Path) -> str:
    """Return why a file cannot be an archive, by its first bytes; empty if it can."""
    try:
        with files.opened(file, files.THROUGH_LINKS) as fd:
            if not files.is_regular(fd):
                return "it is no file"
            return "" if os.read(fd, len(_GZIP)) == _GZIP else "it is no archive, or damaged"
    except OSError as error:
        return error.strerror or str(error)


class _EnoughError(Exception):
    """It was read for long enough."""


def _read(file: Path) -> None:
    """Verify an archive, or as much of it as can be read in a while. Raises ArchiveError."""
    end = time.monotonic() + _READ_FOR

    def told(_: int) -> None:
        if time.monotonic() > end:
            raise _EnoughError

    try:
        verify(file, told)
    except _EnoughError:
        return


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None
