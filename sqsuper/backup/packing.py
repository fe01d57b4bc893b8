"""Compression in a process of its own, which gives way to whoever serves requests.

In a thread it would take a core's time from gateway and instances at their own priority; and a
thread with a lower one would keep the interpreter from the others while it waits for its turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys

LEVEL = 6
_NICE = 10
_PROGRAM = f"""\
import os, zlib
os.nice({_NICE})
packing = zlib.compressobj({LEVEL}, zlib.DEFLATED, 31)
def put(packed):
    left = memoryview(packed)
    while left:
        left = left[os.write(1, left):]
while piece := os.read(0, 1 << 20):
    put(packing.compress(piece))
put(packing.flush())
"""


class Packing:
    """Takes bytes, and writes them as gzip to the descriptor `out`. Blocks; raises OSError.

    To be ended by `close`, or given up by `kill`.
    """

    def __init__(self, out: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
        )

    def write(self, data: bytes) -> None:
        """Compress and write, at some time before `close` returns."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            raise self._failure() from None

    def close(self) -> None:
        """Return when all is written."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        error = self._failure()
        if self._process.returncode:
            raise error

    def kill(self) -> None:
        """Give it up. Raises nothing; idempotent."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _failure(self) -> OSError:
        """Wait for its end, and return what it ended with if that was not as it should be."""
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode("utf-8", "replace").strip()
        self._process.wait()
        number = errno.EIO
        last = said.rpartition("\n")[2]
        if "[Errno " in last:
            with contextlib.suppress(ValueError):
                number = int(last.partition("[Errno ")[2].partition("]")[0])
        return OSError(number, os.strerror(number))
