"""What can go wrong in the supervisor, each cause with its facts."""

from __future__ import annotations

from pathlib import Path

from sqsuper.supervisor import holder
from sqsuper.supervisor.holder import Holder

# Seconds: all requests wait meanwhile. Enough for about a thousand processes.
HOLDER_SEARCH = 0.04


class SupervisorError(Exception):
    """Base of the supervisor's errors; its text is one line for the operator.

    Raised while the service starts it means: the program cannot run (exit status 1).
    """


class RunDirInUseError(SupervisorError):
    """Another supervisor holds the lock of a directory. `pid` is 0 when it is not known."""

    def __init__(self, directory: Path, pid: int) -> None:
        self.directory = directory
        self.pid = pid
        holder = f"pid {pid}" if pid else "a process that did not write its pid"
        super().__init__(f"{directory} is in use by another sqsuper: {holder}")


class UnsafeDirectoryError(SupervisorError):
    """A directory that others own or can write to."""

    def __init__(self, directory: Path, why: str) -> None:
        self.directory = directory
        self.why = why
        super().__init__(f"{directory}: {why}")


class DirectoryError(SupervisorError):
    """A directory that cannot be made or opened."""

    def __init__(self, directory: Path, error: OSError) -> None:
        self.directory = directory
        self.error = error
        super().__init__(f"{directory}: {error.strerror or error}")


class SocketPathError(SupervisorError):
    """A Unix socket's path would not fit the system's limit."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.limit = limit
        super().__init__(
            f"run_dir is too long a path for sockets: {path} is over {limit} bytes; "
            "choose a shorter run_dir"
        )


class DirectoryLockedError(SupervisorError):
    """Another instance runs on a data directory. `pid` is None when its is not known."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        self.directory = directory
        self.pid = pid
        by = "" if pid is None else f": pid {pid}"
        super().__init__(f"another instance runs on {directory}{by}")


class PortTakenError(SupervisorError):
    """A tenant's port cannot be had. `holder` is who has it, where known."""

    def __init__(self, tenant: str, port: int, why: str, by: Holder | None = None) -> None:
        self.tenant = tenant
        self.port = port
        self.why = why
        self.holder = by
        held = "" if by is None else f" (held by {by})"
        super().__init__(f"tenant {tenant}: port {port} cannot be bound: {why}{held}")

    def with_holder(self) -> PortTakenError:
        """Return the same error, naming who has the port if that can be found out soon.

        What could not be found out in time may be known the next time.
        """
        found = holder.of_port(self.port, within=HOLDER_SEARCH)
        return PortTakenError(self.tenant, self.port, self.why, found)


class LaunchError(SupervisorError):
    """A tenant's process could not be started."""

    def __init__(self, tenant: str, why: str) -> None:
        self.tenant = tenant
        self.why = why
        super().__init__(f"tenant {tenant}: {why}")


class TransitionError(SupervisorError):
    """An event came in a state that does not know it: a defect of ours."""

    def __init__(self, tenant: str, state: str, event: str) -> None:
        self.tenant = tenant
        self.state = state
        self.event = event
        super().__init__(f"tenant {tenant}: no transition from {state} by {event}")
