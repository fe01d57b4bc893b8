"""Exclusive locks that end with their holder: on an open file, and on a directory."""

from __future__ import annotations

import errno
import os

from sqsuper.sockets.capabilities import HERE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

_msvcrt: Any
try:
    import msvcrt as _msvcrt
except ImportError:
    _msvcrt = None

LOCK_FILE = ".sqsuper-lock"
"""Name of the file that is locked for a directory which cannot be opened itself."""

# A locked byte cannot be read by others: one far behind all that a file of ours holds.
_BYTE = 1 << 30
_TAKEN = frozenset({errno.EACCES, errno.EDEADLK, errno.EAGAIN})


def lock(fd: int) -> None:
    """Lock an open file or directory until it is closed.

    Raises BlockingIOError when it is locked already, OSError.
    """
    if fcntl is not None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    position = os.lseek(fd, 0, os.SEEK_CUR)
    os.lseek(fd, _BYTE, os.SEEK_SET)
    try:
        _msvcrt.locking(fd, _msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in _TAKEN:
            raise BlockingIOError(errno.EAGAIN, "it is locked") from None
        raise
    finally:
        os.lseek(fd, position, os.SEEK_SET)


def open_to_lock(directory: str | os.PathLike[str], *, directories: bool = HERE.directories) -> int:
    """Return a descriptor that stands for a directory, for `lock`. Raises OSError.

    `directories`: whether that can be the directory itself.
    """
    if directories:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    file = os.path.join(directory, LOCK_FILE)
    return os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
