"""What holds for the supervisor's own process, and for all that it starts."""

from __future__ import annotations

import contextlib
import os

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]


def confine_process() -> None:
    """Set what holds for the whole process: umask 0077, no core files, all descriptors."""
    os.umask(0o077)
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    allow_descriptors()


def allow_descriptors() -> None:
    """Raise the soft limit on open files to the hard one."""
    if resource is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems name a limit they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
