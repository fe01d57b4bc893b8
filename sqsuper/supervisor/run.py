"""One run of a tenant's instance: from its epoch and process to the last of both."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall

from sqsuper.config.model import Engine, Tenant
from sqsuper.supervisor import plan, rundir
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.directory_lock import DirectoryLock
from sqsuper.supervisor.epoch import Epoch
from sqsuper.supervisor.errors import LaunchError, PortTakenError, SupervisorError
from sqsuper.supervisor.fleet import Circumstances, Fleet
from sqsuper.supervisor.probe import Probe
from sqsuper.supervisor.process import Exit, InstanceProcess, cancelled, inherited_sockets

KILLED = 9
# child.py: the program was not found, or may not be executed.
UNUSABLE = frozenset({126, 127})

# What Python says, and Rust's allocator.
_NO_MEMORY = re.compile(r"MemoryError\b|.*memory allocation of \d+ bytes failed")


@attrs.frozen
class Ending:
    """How an instance came to its end: `exit` is None when there never was a process.

    `clean`: status 0, of one that had been ready. `at`: the reactor's time in seconds.
    `circumstances`: those in which it was condemned or found dead.
    """

    at: float
    cause: Cause
    reason: str
    exit: Exit | None = None
    clean: bool = False
    circumstances: Circumstances | None = None


class RunOwner(Protocol):
    """Who is told of a run; each call names it."""

    def run_ready(self, run: Run) -> None:
        """It answers: at first, and each time after `Run.expect`."""

    def run_stands_by(self, run: Run) -> None:
        """It is loaded, and serves as soon as the run that has the data directory has ended."""

    def run_late(self, run: Run) -> None:
        """It was expected, and neither ready nor standing by within `health.start_timeout`."""

    def run_exited(self, run: Run) -> None:
        """Its leader is gone; `run_ended` follows."""

    def run_ended(self, run: Run, ending: Ending) -> None:
        """Nothing of its process is left. Its epoch is still open."""


class Run:
    """One epoch of a tenant's instance, and the process that serves it.

    In order: `launch`, then `run_ready` or `run_late`, then at some time `run_ended`, then
    `close`. Without `launch`, only `close`.
    """

    def __init__(self, tenant: Tenant, epoch: Epoch, owner: RunOwner, fleet: Fleet) -> None:
        self.tenant = tenant
        self.epoch = epoch
        self.owner = owner
        self.process: InstanceProcess | None = None
        self._fleet = fleet
        self._reactor: Any = fleet.around.reactor
        self._embedded = tenant.settings.engine is Engine.EMBEDDED
        self.was_ready = False
        """Whether it has answered at any time."""
        self._lock: DirectoryLock | None = None
        self._probe: Probe | None = None
        self._late_call: IDelayedCall | None = None

    @property
    def launched(self) -> bool:
        """Whether there is a process, or will be."""
        return self.process is not None

    def launch(self, own_port: int | None, *, patience: float | None = None) -> None:
        """Start the process; `own_port` is the descriptor of the tenant's own port.

        `patience`: how long an embedded engine waits for the run that has its data directory.
        Raises `SupervisorError`; then it has not begun.
        """
        epoch, fleet, tenant = self.epoch, self._fleet, self.tenant
        try:
            rundir.ensure(tenant.data_dir, 0o700, rundir.owner_of(tenant))
            if not self._embedded:
                self._lock = DirectoryLock(tenant.data_dir)
                epoch.choose_port(tenant.port, fleet.ports)
            what = plan.plan_for(
                fleet.config,
                tenant,
                marker=epoch.marker,
                key=epoch.key,
                port=epoch.port,
                paths=fleet.engine_paths,
                never_from=fleet.data_dirs,
                patience=patience,
            )
            self.process = InstanceProcess(what, self, fleet.around)
            self.process.launch(
                inherited_sockets(
                    None if epoch.socket is None else epoch.socket.fileno(), own_port
                ),
                epoch.control_line(tenant.tokens) if self._embedded else b"",
            )
        except SupervisorError:
            self._end()
            raise
        if self.process is not None:
            self.expect()

    def expect(self) -> None:
        """From now on it has `health.start_timeout` to show that it answers."""
        self.expect_no_more()
        health = self.tenant.settings.health
        self._late_call = self._reactor.callLater(health.start_timeout, self._late)
        if not self._embedded:
            self._probe = Probe(self._reactor, self.epoch.port, health.timeout, self._ready)
            self._probe.start()

    def expect_no_more(self) -> None:
        """Nobody waits for it to answer. Idempotent."""
        self._late_call = cancelled(self._late_call)
        if self._probe is not None:
            self._probe.stop()
            self._probe = None

    def stop(self, grace: float) -> None:
        """End the process: TERM, after `grace` seconds KILL."""
        self.expect_no_more()
        if self.process is not None:
            self.process.stop(grace)

    def kill(self) -> None:
        """End the process at once."""
        self.expect_no_more()
        if self.process is not None:
            self.process.kill()

    def close(self) -> None:
        """Close and forget the epoch, which has no process any more."""
        self.epoch.close()
        if self.epoch.port != self.tenant.port:
            self._fleet.ports.discard(self.epoch.port)

    def _ready(self) -> None:
        self.expect_no_more()
        if not self.was_ready and self.process is not None:
            self.was_ready = True
            self.process.proven()
        self.owner.run_ready(self)

    def _late(self) -> None:
        self._late_call = None
        self.expect_no_more()
        self.owner.run_late(self)

    def _end(self) -> None:
        self.expect_no_more()
        self.process = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # process.Owner

    def process_ready(self, process: InstanceProcess) -> None:
        if self._embedded and not self.was_ready:
            if self.epoch.socket is None:
                self.epoch.port = process.port or 0
            self._ready()

    def process_standby(self, process: InstanceProcess) -> None:
        self.owner.run_stands_by(self)

    def process_exited(self, process: InstanceProcess) -> None:
        self.owner.run_exited(self)

    def process_ended(self, process: InstanceProcess, how: Exit) -> None:
        self._end()
        reason = str(how) if process.refusal is None else f"{how}: {process.refusal}"
        cause = self._cause(process, how)
        clean = how.clean and self.was_ready
        self.owner.run_ended(self, Ending(self._reactor.seconds(), cause, reason, how, clean))

    def process_failed(self, process: InstanceProcess, error: LaunchError) -> None:
        self._end()
        self.owner.run_ended(self, failure_to_start(self._reactor.seconds(), error))

    def _cause(self, process: InstanceProcess, how: Exit) -> Cause:
        if process.refusal is not None and how.code in UNUSABLE:
            return Cause.CANNOT_EXECUTE
        killed = how.signal == KILLED and not process.killed
        if killed and self._fleet.memory_kills.explain(self._reactor.seconds()):
            return Cause.OUT_OF_MEMORY
        if not how.clean and speaks_of_memory(process.errors):
            return Cause.OUT_OF_MEMORY
        return Cause.CRASH


def failure_to_start(at: float, error: SupervisorError) -> Ending:
    """Return the ending of what never began."""
    cause = Cause.PORT_TAKEN if isinstance(error, PortTakenError) else Cause.CRASH
    return Ending(at, cause, str(error))


def speaks_of_memory(lines: Iterable[str]) -> bool:
    """Whether a program's last lines of errors say that it could not allocate memory."""
    return any(_NO_MEMORY.match(line) for line in lines)
