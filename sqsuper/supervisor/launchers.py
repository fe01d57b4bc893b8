"""How an instance's process comes to be: the seam, and the launcher that works everywhere."""

from __future__ import annotations

import os
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol

from sqsuper.supervisor.plan import CONTROL_FD, REPORT_FD, Plan


class LaunchProtocol(ProcessProtocol):
    """What a launcher drives: either `makeConnection` or `launch_failed` comes, once."""

    def launch_failed(self, error: Exception) -> None:
        """There is no process and will be none; only after `launch` has returned."""
        raise NotImplementedError


class Launcher(Protocol):
    """How processes of ours come to be; all launchers drive the same `LaunchProtocol`.

    The child gets 0 (/dev/null), 1, 2 and the plan's `report`, which we read, its `control`,
    which we write, what it inherits, and nothing else. It does nothing to its tenant's data
    before a first byte comes on `control`, and ends when that is closed instead.
    """

    def start(self, *, preload: bool) -> None:
        """The service starts. `preload`: whether plans that may be `preloaded` will come."""

    def launch(self, protocol: LaunchProtocol, plan: Plan, inherited: dict[int, int]) -> None:
        """Start `plan`; `inherited` maps the child's descriptors to ours.

        `protocol` is connected to an IProcessTransport before this returns or later. Raises
        OSError, or ValueError and TypeError for text that the system's interface cannot take.
        """

    def stop(self) -> Deferred[None]:
        """All instances are gone; fires when whatever the launcher itself ran is gone too."""


class StandardLauncher:
    """Starts each process with the standard streams alone, where there are no other descriptors.

    Its plans' `control` is 0 or None, their `report` 1 or None, and nothing is inherited.
    """

    def __init__(self, reactor: IReactorProcess) -> None:
        self._reactor = reactor

    def start(self, *, preload: bool) -> None:
        """See `Launcher`."""

    def launch(self, protocol: LaunchProtocol, plan: Plan, inherited: dict[int, int]) -> None:
        """See `Launcher`; connects before it returns."""
        self._reactor.spawnProcess(
            protocol,
            plan.argv[0],
            args=list(plan.argv),
            env=dict(plan.environment),
            path=plan.directory,
        )
        if plan.control is None and protocol.transport is not None:
            protocol.transport.closeStdin()

    def stop(self) -> Deferred[None]:
        """See `Launcher`."""
        return succeed(None)


class SpawnLauncher:
    """Starts each process from scratch."""

    def __init__(self, reactor: IReactorProcess) -> None:
        self._reactor = reactor

    def start(self, *, preload: bool) -> None:
        """See `Launcher`."""

    def launch(self, protocol: LaunchProtocol, plan: Plan, inherited: dict[int, int]) -> None:
        """See `Launcher`; connects before it returns."""
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            descriptors: dict[int, int | str] = {0: nothing, 1: "r", 2: "r"}
            descriptors |= {CONTROL_FD: "w", REPORT_FD: "r"}
            descriptors |= inherited
            # No working directory here: Twisted would have to fork this whole process for
            # it; the child changes to it by itself.
            self._reactor.spawnProcess(
                protocol,
                plan.argv[0],
                args=list(plan.argv),
                env=dict(plan.environment),
                childFDs=descriptors,
            )
        finally:
            os.close(nothing)

    def stop(self) -> Deferred[None]:
        """See `Launcher`."""
        return succeed(None)
