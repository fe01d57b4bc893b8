"""Files of secrets, replaced as a whole or not at all; and directories that are put aside."""

from __future__ import annotations

import contextlib
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
    aside = put_aside(directory, data_root, name, clock)
    if aside is not None:
        sync_directory(aside.parent)
    return aside


def put_aside(
    directory: Path, data_root: Path, name: str, clock: Callable[[], float] = time.time
) -> Path | None:
    """As `archive`, but after a power cut it may be where it was."""
    try:
        if not directory.is_dir() or directory.is_symlink():
            return None
    except OSError:
        return None
    aside = data_root / ARCHIVE
    aside.mkdir(mode=0o700, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock()))
    target = aside / f"{name}-{stamp}"
    number = 1
    while target.exists():
        number += 1
        target = aside / f"{name}-{stamp}-{number}"
    os.rename(directory, target)
    return target
