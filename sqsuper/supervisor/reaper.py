"""Zombies that are ours only because we take in orphans (Linux: child subreaper).

What was registered by pid is waited for by pid; `waitpid(-1)` would take those statuses, and
those of other code in this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Container
from pathlib import Path

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.process import reapProcessHandlers

PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37

SWEEP_SECONDS = 1.0

_TASKS = Path("/proc/self/task")


def subreaper() -> bool:
    """Whether orphaned descendants become children of this process."""
    if not sys.platform.startswith("linux"):
        return False
    value = ctypes.c_int(0)
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0) == 0 and bool(value)


def set_subreaper(on: bool) -> bool:
    """Take in orphaned descendants from now on, or no more; return whether that is so now.

    To be called in the process that shall be their parent: a fork does not inherit the mark.
    """
    if not sys.platform.startswith("linux"):
        return not on
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)) == 0


def strays(registered: Container[int], session: int) -> list[int]:
    """Return the zombies among our children that are not `registered` nor of our `session`.

    Children that other code here waits for are of our session, as a rule.
    """
    found = []
    for pid in _children():
        if pid in registered:
            continue
        fields = _stat(pid)
        if fields is not None and fields[0] == b"Z" and int(fields[3]) != session:
            found.append(pid)
    return found


class Reaper:
    """Waits for stray zombies, once a `SWEEP_SECONDS` between `start` and `stop`.

    `reactor` keeps time. While `outstanding()` says that a start may still bring a pid, that
    pid's status is not to be lost, and nothing is swept.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        outstanding: Callable[[], bool],
        *,
        registered: Container[int] = reapProcessHandlers,
    ) -> None:
        self._reactor = reactor
        self._outstanding = outstanding
        self._registered = registered
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Sweep from now on. Idempotent."""
        if self._call is None:
            self._call = self._reactor.callLater(SWEEP_SECONDS, self._again)

    def stop(self) -> None:
        """Sweep once more, and then never."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.sweep()

    def sweep(self) -> None:
        """Reap what is there."""
        if self._outstanding():
            return
        for pid in strays(self._registered, os.getsid(0)):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def _again(self) -> None:
        self._call = None
        self.start()
        self.sweep()


def _children() -> list[int]:
    found: list[int] = []
    try:
        for task in _TASKS.iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_bytes().split())
    except OSError:
        pass
    return found


def _stat(pid: int) -> list[bytes] | None:
    """Fields of /proc/PID/stat from the third (the state) on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].split()
