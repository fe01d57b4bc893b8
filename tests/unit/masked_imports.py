"""Imports every module of ours as on Windows: whatever that lacks is taken away before.

Prints what fails, and ends with status 1 then. The libraries are imported before, with all that
they need here; the programs that only Linux runs are left out.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import select
import signal
import socket
import sys
from types import ModuleType

import sqsuper

# Run by path, as processes of their own, where there is a zygote or a warden.
LINUX_ONLY = (
    "sqsuper.supervisor.compaction",
    "sqsuper.supervisor.warden_main",
    "sqsuper.supervisor.warmup",
    "sqsuper.supervisor.zygote_main",
    "sqsuper.supervisor.zygote_program",
)
MODULES = ("fcntl", "grp", "pwd", "resource", "syslog", "termios", "tty", "_posixsubprocess")
NAMES: dict[ModuleType, str] = {
    signal: """SIGHUP SIGUSR1 SIGUSR2 SIGKILL SIGCHLD SIGPIPE SIGXFSZ SIGQUIT SIGCONT SIGSTOP
        SIGALRM SIGTSTP pthread_sigmask pidfd_send_signal alarm setitimer sigwait pthread_kill
        siginterrupt SIG_BLOCK SIG_SETMASK SIG_UNBLOCK""",
    socket: """AF_UNIX SO_REUSEPORT SCM_RIGHTS send_fds recv_fds SOCK_SEQPACKET MSG_DONTWAIT
        MSG_CMSG_CLOEXEC CMSG_SPACE CMSG_LEN SOCK_NONBLOCK SOCK_CLOEXEC SO_PEERCRED TCP_CORK
        TCP_QUICKACK TCP_USER_TIMEOUT MSG_NOSIGNAL MSG_MORE""",
    select: "epoll poll kqueue EPOLLIN EPOLLOUT EPOLLERR EPOLLHUP POLLIN POLLOUT",
    os: """O_NOFOLLOW O_DIRECTORY O_CLOEXEC O_NONBLOCK O_NOCTTY O_TMPFILE O_PATH O_DSYNC O_SYNC
        fork forkpty killpg getuid geteuid getgid getegid getresuid setuid setgid setgroups
        initgroups getgroups setsid getsid setpgid getpgid getpgrp fchmod fchown chown lchown
        sendfile pread pwrite preadv pwritev posix_fallocate posix_fadvise statvfs fstatvfs
        sched_getaffinity sched_setaffinity waitid WNOHANG WEXITED WNOWAIT P_PID P_PIDFD
        pidfd_open memfd_create MFD_CLOEXEC eventfd fdatasync uname nice mkfifo setpriority
        getpriority PRIO_PROCESS wait wait3 wait4 getloadavg fchdir writev readv sysconf pipe2
        copy_file_range splice getxattr listxattr sync ctermid ttyname openpty set_blocking
        get_blocking""",
}


class _Library(ctypes.CDLL):
    def __init__(self, name: str | None, use_errno: bool = False) -> None:
        if name is None:
            raise TypeError("bad argument type for built-in operation")
        super().__init__(name, use_errno=use_errno)


def main() -> int:
    """Return the exit status."""
    names = [
        found.name
        for found in pkgutil.walk_packages(sqsuper.__path__, "sqsuper.")
        if found.name not in LINUX_ONLY and not found.name.endswith("__main__")
    ]
    names.append("sqsuper.engine.__main__")
    for name in names:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "sqsuper"]:
        del sys.modules[name]
    mask()
    failed = 0
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed = 1
            sys.stdout.write(f"{name}: {type(error).__name__}: {error}\n")
    return failed


def mask() -> None:
    """Take away what Windows lacks."""
    for module in MODULES:
        sys.modules[module] = None  # type: ignore[assignment]
    for place, listed in NAMES.items():
        for name in listed.split():
            if hasattr(place, name):
                delattr(place, name)
    ctypes.CDLL = _Library  # type: ignore[assignment,misc]
    sys.platform = "win32"


if __name__ == "__main__":
    sys.exit(main())
