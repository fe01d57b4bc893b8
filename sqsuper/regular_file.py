"""Files of the service's own, opened for reading where somebody else may have put something."""

from __future__ import annotations

import errno
import os
import stat

_READ = os.O_RDONLY
# No link's target, and no FIFO, which would be waited for.
for _flag in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
    _READ |= getattr(os, _flag, 0)


def open_regular(file: str | os.PathLike[str]) -> int:
    """Return a descriptor to read a file by. Raises OSError, also for all but a regular file."""
    fd = os.open(file, _READ)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(file))
    return fd
