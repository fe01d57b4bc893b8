"""Files of secrets, replaced as a whole or not at all; and directories that are put aside."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from sqsuper.sockets.capabilities import HERE

ARCHIVE = ".archive"

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
for _flag in ("O_CLOEXEC", "O_BINARY"):
    _NEW |= getattr(os, _flag, 0)


def replace(file: Path, text: str) -> None:
    """Make `file` hold `text`, 0600: at any time, also after a power cut, the old or the new.

    Its directory is made, 0700, when it is missing. Raises OSError.
    """
    directory = file.parent
    directory.mkdir(mode=0o700, exist_ok=True)
    # Hidden, so that no pattern of `include` finds it.
    part = directory / f".{file.name}.{secrets.token_hex(6)}.part"
    fd = os.open(part, _NEW, 0o600)
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(text.encode())
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, file)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    sync_directory(directory)


def remove(file: Path) -> None:
    """Make that there is no `file`. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        file.unlink()
        sync_directory(file.parent)


def sync_directory(directory: Path) -> None:
    """See to it that what was renamed in a directory is so after a power cut, too."""
    if not HERE.directories:
        return  # the system writes a directory's entries by itself, in order
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def archive(
    directory: Path, data_root: Path, name: str, clock: Callable[[], float] = time.time
) -> Path | None:
    """Put a tenant's data directory aside, into `<data_root>/.archive`; return where it is.

    None: there was none. Nothing is ever copied or deleted: raises OSError where it cannot be
    renamed, such as into another file system.
    """
    if not _is_directory(directory):
        return None
    aside = _moved(directory, data_root / ARCHIVE, name, clock)
    sync_directory(aside.parent)
    return aside


def put_aside(
    directory: Path, data_root: Path, name: str, clock: Callable[[], float] = time.time
) -> Path | None:
    """As `archive`, but after a power cut it may be where it was.

    What is on another file system than `data_root`, or has none yet, goes into `.archive` beside
    it.
    """
    if not _is_directory(directory):
        return None
    try:
        return _moved(directory, data_root / ARCHIVE, name, clock)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.ENOENT}:
            raise
        return _moved(directory, directory.parent / ARCHIVE, name, clock)


def _is_directory(directory: Path) -> bool:
    try:
        return directory.is_dir() and not directory.is_symlink()
    except OSError:
        return False


def _moved(directory: Path, archives: Path, name: str, clock: Callable[[], float]) -> Path:
    _make(archives)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock()))
    target = archives / f"{name}-{stamp}"
    number = 1
    while target.exists():
        number += 1
        target = archives / f"{name}-{stamp}-{number}"
    os.rename(directory, target)
    return target


def _make(directory: Path) -> None:
    """Make a directory, 0700, of the owner of the one above: root may make it for the service."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return
    if HERE.owners and os.geteuid() == 0:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            above = os.stat(directory.parent)
            os.fchown(fd, above.st_uid, above.st_gid)
        finally:
            os.close(fd)
