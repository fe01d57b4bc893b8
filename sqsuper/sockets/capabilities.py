"""What the system lends us: decided once, asked by whatever has another way without it.

Only what a part must choose by is here. What a single call settles by itself (is there an
`os.fdatasync`?) is looked up where it is used.
"""

from __future__ import annotations

import os
import sys

FORCED = "SQSUPER_PLATFORM"
"""The environment variable, for tests alone, that names a system to do with no more than."""


class Capabilities:
    """What a system can do.

    `epoll`: descriptors wait in one of their own, so that a loop nests in another.
    `zygote`: a loaded process forks others, which are the supervisor's own children.
    `groups`: sessions, process groups, and a signal to all of one. `signals`: a process is told
    to stop by a signal that it can take its time to follow. `inheritance`: a child gets
    descriptors beside 0 to 2, listening sockets among them, and there are Unix sockets.
    `execution`: a process becomes another program. `directories`: directories are opened, files
    named relative to them, and links not followed. `pipes`: a loop can wait for a pipe.
    `proc`: the kernel tells of processes in files below /proc, which costs less than psutil.
    `replacement`: a file that is open can be renamed, and another one take its place. `owners`:
    users, groups and modes say who may do what with a file. `socket_path`: the longest path of
    a Unix socket, in bytes.
    """

    __slots__ = (
        "directories",
        "epoll",
        "execution",
        "groups",
        "inheritance",
        "owners",
        "pipes",
        "proc",
        "replacement",
        "signals",
        "socket_path",
        "zygote",
    )

    def __init__(self, *, posix: bool, linux: bool, socket_path: int) -> None:
        self.epoll = self.proc = self.zygote = linux
        self.groups = self.signals = self.inheritance = self.execution = posix
        self.directories = self.pipes = self.replacement = self.owners = posix
        self.socket_path = socket_path

    @classmethod
    def of(cls, platform: str) -> Capabilities:
        """Return what a system of that name (as `sys.platform` has it) can do."""
        if platform == "win32":
            return cls(posix=False, linux=False, socket_path=0)
        linux = platform.startswith("linux")
        # sun_path of 108 and 104 bytes, with a zero at its end
        return cls(posix=True, linux=linux, socket_path=107 if linux else 103)

    def forced(self, platform: str | None) -> Capabilities:
        """Return what is left of it on `platform`; None or an empty name leave all.

        Raises ValueError for a name that is none of linux, darwin and win32.
        """
        if not platform:
            return self
        if platform not in ("linux", "darwin", "win32"):
            raise ValueError(f"{FORCED} is linux, darwin or win32, not {platform!r}")
        left = Capabilities.of(platform)
        for name in self.__slots__:
            setattr(left, name, min(getattr(left, name), getattr(self, name)))
        return left


NEEDED = (FORCED, "SYSTEMROOT", "TEMP") if os.name == "nt" else (FORCED,)
"""Environment variables that a process of ours needs where they are set."""


def told_to_children() -> dict[str, str]:
    """Return those of this process."""
    return {name: os.environ[name] for name in NEEDED if name in os.environ}


HERE = Capabilities.of(sys.platform).forced(os.environ.get(FORCED))
"""What this system can do."""
