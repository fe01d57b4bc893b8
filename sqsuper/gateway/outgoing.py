"""How much of what was sent is still on its way."""

from __future__ import annotations

import socket
import struct

try:
    import fcntl
    import termios
except ImportError:  # not a Unix
    _OUTQ = 0
else:
    _OUTQ = termios.TIOCOUTQ


def in_kernel(sock: socket.SocketType) -> int:
    """Return how many bytes the kernel took that the peer has not; 0 where nobody can tell.

    The kernel wakes a sender only when a good part of its buffer, up to some megabytes, is
    free again: by that alone a slow reader looks like one that takes nothing.
    """
    if not _OUTQ:
        return 0
    try:
        answer = fcntl.ioctl(sock, _OUTQ, bytes(4))
    except OSError:
        return 0
    count: int = struct.unpack("i", answer)[0]
    return count
