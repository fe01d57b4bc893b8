"""Backups on files alone, while no service runs, and archives brought from one place to another."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqsuper.admin.files import put_aside
from sqsuper.backup import offline, shelf
from sqsuper.backup.errors import BackupError, NoArchiveError, NotInBackupError, RunningError
from sqsuper.backup.restoring import verify
from sqsuper.backup.schedule import next_run
from sqsuper.backup.targets import Wish, directory_of
from sqsuper.backup.walking import size_of
from sqsuper.cli.errors import (
    BrokenConfigurationError,
    CommandError,
    MissingError,
    RefusedError,
    UnreachableError,
)
from sqsuper.cli.files import give, make_private, sync
from sqsuper.cli.terminal import progress
from sqsuper.config.errors import ConfigError
from sqsuper.config.load import load
from sqsuper.config.model import Config
from sqsuper.supervisor.own_limits import allow_descriptors


def backup(
    file: Path, wanted: Sequence[str], to: Path | None, error: UnreachableError, *, quiet: bool
) -> dict[str, Any]:
    """Make an archive of these tenants of a configuration, or of all; return it as the API does.

    `error`: why the service was not asked. Raises CommandError.
    """
    config = _load(file)
    by_name = {tenant.name: tenant for tenant in config.tenants}
    for name in wanted:
        if name not in by_name:
            raise MissingError(f"there is no tenant {name}")
    tenants = [by_name[name] for name in wanted] or list(config.tenants)
    kind = f"tenant-{wanted[0]}" if len(wanted) == 1 else "all"
    total = sum(size_of(tenant.data_dir) for tenant in tenants)
    with _told(error), progress("backing up", total, quiet) as bar:
        made = offline.backup(config, tenants, kind=kind, directory=to, told=bar.update)
    return made.as_json()


def restore(
    file: Path,
    archive: Path,
    wish: tuple[str | None, str | None, bool],
    error: UnreachableError,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Put tenants of an archive back; return it as the API does. Raises CommandError."""
    config = _load(file)
    allow_descriptors()  # for a lock on each tenant's directory
    with _told(error):
        asked = Wish(*wish)
        path = found(archive, directory_of(config))
        with progress("restoring", _size(path), quiet) as bar:
            done = offline.restore(config, path, asked, put_aside=put_aside, told=bar.update)
    known = {tenant.name for tenant in config.tenants}
    return {"restored": [one.as_json(known=one.tenant in known) for one in done]}


def verified(archive: Path, *, quiet: bool) -> dict[str, Any]:
    """Read an archive whole, and return what it holds. Raises CommandError."""
    try:
        with progress("verifying", _size(archive), quiet) as bar:
            return verify(archive, bar.update).as_json()
    except BackupError as error:
        raise CommandError(str(error)) from None


def shelf_of(file: Path) -> Path:
    """Return where a configuration has its backups. Raises CommandError."""
    return directory_of(_load(file))


def found(archive: Path, directory: Path) -> Path:
    """Return where an archive is: a path, or, of a name alone, maybe in that directory."""
    by_name = archive.name == str(archive) and not archive.exists()
    return directory / archive if by_name else archive


def listed(file: Path) -> dict[str, Any]:
    """Return the archives there are, as the API does. Raises CommandError."""
    config = _load(file)
    directory = directory_of(config)
    there = os.listdir(directory) if directory.is_dir() else []
    at = config.backup.at
    last = shelf.last_daily(there)
    return {
        "dir": str(directory),
        "at": at,
        "keep": config.backup.keep,
        "next": None if at is None else next_run(at, time.time(), last=last),
        "backups": [one.as_json(_size(directory / one.name) or 0) for one in shelf.all_of(there)],
    }


@contextmanager
def on_shelf(archive: Path, directory: Path) -> Iterator[str]:
    """Give the name by which the service has an archive; a copy for it, if it is elsewhere."""
    if found(archive, directory).resolve().parent == directory.resolve():
        yield archive.name
        return
    name = shelf.name_of("all", time.time())
    while (directory / name).exists():
        name = shelf.name_of("all", time.time(), again=time.time_ns())
    copy = directory / name
    try:
        _copy(archive, copy)
        yield name
    except OSError as error:
        raise CommandError(f"{error.filename or archive}: {error.strerror}") from None
    finally:
        copy.unlink(missing_ok=True)


def move(archive: Path, to: Path) -> Path:
    """Bring an archive to another directory, which is made if it is missing; return where it is."""
    target = to / archive.name
    try:
        if os.path.lexists(target):
            raise RefusedError(f"{target} is there already; the backup stays in {archive}")
        _copy(archive, target)
        archive.unlink()
    except OSError as error:
        where = error.filename or target
        raise CommandError(f"{where}: {error.strerror}; the backup stays in {archive}") from None
    return target


def _copy(archive: Path, target: Path) -> None:
    """Make `target`, which is not there yet, a copy: a whole one, or none."""
    make_private(target.parent)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(archive, "rb") as source, open(fd, "wb") as out:
            give(out.fileno(), target.parent)
            shutil.copyfileobj(source, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(draft, target)
        except OSError:
            if os.path.lexists(target):
                raise
            os.rename(draft, target)  # where there are no hard links
    finally:
        draft.unlink(missing_ok=True)
    sync(target.parent)


def _load(file: Path) -> Config:
    try:
        return load(file)
    except ConfigError as error:
        raise BrokenConfigurationError(str(error)) from None


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


@contextmanager
def _told(unreachable: UnreachableError) -> Iterator[None]:
    """Tell errors as the service's are; where it runs after all, that it does not answer."""
    try:
        yield
    except RunningError as error:
        raise UnreachableError(f"{error}, but {unreachable}") from None
    except (NoArchiveError, NotInBackupError) as error:
        raise MissingError(str(error)) from None
    except BackupError as error:
        raise RefusedError(str(error)) from None
