"""The real process of a tenant's instance: spawned, recorded, read from, ended to the last."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

import attrs
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sqsuper.sockets.capabilities import HERE
from sqsuper.supervisor import groups
from sqsuper.supervisor.errors import LaunchError
from sqsuper.supervisor.groups import Group
from sqsuper.supervisor.launchers import Launcher, LaunchProtocol
from sqsuper.supervisor.output import Lines, Output
from sqsuper.supervisor.plan import PORT_FD, SOCKET_FD, Plan
from sqsuper.supervisor.records import Records
from sqsuper.supervisor.remains import Remains
from sqsuper.supervisor.throttle import Throttle

OUTPUT_PATIENCE = 1.0
MAX_REPORT = 64 * 1024
LAST_ERRORS = 20


@attrs.frozen
class Exit:
    """How a process ended: by `code`, or by `signal`."""

    code: int | None
    signal: int | None = None

    @property
    def clean(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit status {self.code}"
        try:
            return f"killed by {signal.Signals(self.signal).name}"
        except ValueError:
            return f"killed by signal {self.signal}"


class Heir(Protocol):
    """Who ends process groups when the supervisor cannot; see `sqsuper.supervisor.warden`."""

    def watch(self, group: Group) -> None: ...
    def forget(self, group: Group) -> None: ...


class Owner(Protocol):
    """Who is told what a process does; each call names the process."""

    def process_ready(self, process: InstanceProcess) -> None:
        """The embedded engine serves."""

    def process_standby(self, process: InstanceProcess) -> None:
        """The embedded engine will serve as soon as its data directory is free."""

    def process_exited(self, process: InstanceProcess) -> None:
        """The leader is gone; its group and output are being ended."""

    def process_ended(self, process: InstanceProcess, how: Exit) -> None:
        """Process, group and output are gone, the record too."""

    def process_failed(self, process: InstanceProcess, error: LaunchError) -> None:
        """There never was a process; nothing else comes."""


@attrs.define(eq=False)
class Surroundings:
    """What every instance's process needs; one for the service. `reactor` also keeps time.

    `warden`: told of the groups of programs that may fork.
    """

    reactor: Any
    launcher: Launcher
    records: Records
    remains: Remains
    boot: str
    output: Output
    warden: Heir


class InstanceProcess(LaunchProtocol):
    """One spawned process and its group, from spawn to the last byte of output."""

    _log = Logger()

    def __init__(self, plan: Plan, owner: Owner, around: Surroundings) -> None:
        self.tenant = plan.tenant
        self.refusal: str | None = None
        self.port: int | None = None
        """Where it said that it serves, if it was to choose a port by itself."""
        self.killed = False
        """Whether we sent KILL."""
        self.errors: deque[str] = deque(maxlen=LAST_ERRORS)
        """The last lines of its standard error."""
        self.heard: Callable[[dict[str, Any]], None] | None = None
        """Called with what the engine reports beside that it is ready or why it is not."""
        self.kept: Callable[[dict[str, Any]], None] | None = None
        """Called with what the engine reports of a hold: files that it leaves as they are."""
        self._plan = plan
        self._owner = owner
        self._around = around
        self._told = b""
        self._unwanted = False
        self._group: Group | None = None
        self._exit: Exit | None = None
        self._group_gone = False
        self._output_gone = False
        self._kill_call: IDelayedCall | None = None
        self._close_call: IDelayedCall | None = None
        self._flush_call: IDelayedCall | None = None
        self._throttle = Throttle(around.reactor)
        self._report = bytearray()
        self._lines = {
            1: self._lines_of("stdout"),
            2: self._lines_of("stderr"),
        }

    @property
    def forks(self) -> bool:
        """Whether it may start processes of its own."""
        return self._plan.forks

    @property
    def group(self) -> Group | None:
        """How it is recorded, from when it is."""
        return self._group

    @property
    def pid(self) -> int | None:
        """The leader's pid from when it is known until it is reaped."""
        if self.transport is None or self._exit is not None:
            return None
        return cast("int | None", self.transport.pid)

    def launch(self, inherited: dict[int, int], control: bytes) -> None:
        """Start, record the process, then let it go on with `control` as its first lines.

        Raises `LaunchError` when there is no process then; when that turns out later,
        `process_failed` comes. In both cases `process_ended` does not.
        """
        self._told = b"\n" + control
        try:
            self._around.launcher.launch(self, self._plan, inherited)
        except (OSError, ValueError, TypeError) as error:
            raise self._cannot(error) from error

    def launch_failed(self, error: Exception) -> None:
        self._owner.process_failed(self, self._cannot(error))

    def _cannot(self, error: Exception) -> LaunchError:
        # Not only OSError: there is text that the system's interface cannot take.
        why = getattr(error, "strerror", None) or str(error)
        return LaunchError(self.tenant, f"cannot start a process: {why}")

    def connectionMade(self) -> None:
        told, self._told = self._told, b""
        if self._unwanted:
            self.kill()  # it was stopped before there was anything to stop
            return
        try:
            self._record()
        except OSError as error:
            # Unrecorded it must not run: it waits for our word, and gets the signal instead.
            self.refusal = f"cannot record the process: {error.strerror}"
            self._log.error("{tenant}: {why}", tenant=self.tenant, why=self.refusal)
            self.kill()
            return
        self._write(told)

    def _record(self) -> None:
        pid = self.pid
        start = None if pid is None else groups.start_time(pid)
        if pid is None or start is None:
            return  # it has ended already, and waited for our word until then
        self._group = Group(
            self.tenant, pid, start, self._around.boot, groups.now(), self._plan.marker
        )
        self._around.records.write(self._group)
        if self.forks:
            self._around.warden.watch(self._group)

    def proven(self) -> None:
        """The instance became ready: note that its leader lives at this time."""
        if self._group is None or self._exit is not None:
            return
        self._group = attrs.evolve(self._group, alive_at=groups.now())
        try:
            self._around.records.write(self._group)
        except OSError as error:
            self._log.warn("{tenant}: record: {error}", tenant=self.tenant, error=error)

    def stop(self, grace: float) -> None:
        """TERM to the group now, KILL after `grace` seconds. Idempotent.

        Where there are no such signals an engine is told on its control pipe; what has none is
        killed now.
        """
        if self._exit is not None or self._kill_call is not None:
            return
        if self.transport is None:
            self._unwanted = True
            return
        if HERE.signals:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a suspended process cannot act on TERM
        elif self._plan.control is not None:
            self.ask(b'{"stop": true}')
        else:
            self.kill()
            return
        self._kill_call = self._around.reactor.callLater(grace, self.kill)

    def kill(self) -> None:
        """KILL to the group."""
        self._kill_call = cancelled(self._kill_call)
        self._unwanted = True
        self.killed = True
        if HERE.groups:
            self._signal(signal.SIGKILL)
        elif self.pid is not None:
            with contextlib.suppress(OSError, ProcessExitedAlready):
                self.transport.signalProcess("KILL")  # type: ignore[union-attr]

    def ask(self, message: bytes) -> None:
        """Write a line on the control pipe, of an engine that reads it. Lost if it has ended."""
        if self._told:
            self._told += message + b"\n"  # it has not begun to read
        elif self.pid is not None:
            self._write(message + b"\n")

    def _signal(self, signum: int) -> None:
        pid = self.pid
        if pid is None:
            return
        # The leader is not reaped yet, so its pid is its own.
        try:
            os.killpg(pid, signum)
        except OSError:
            # It has not made its group yet.
            with contextlib.suppress(OSError, ProcessExitedAlready):
                self.transport.signalProcess(signum)  # type: ignore[union-attr]

    def _write(self, data: bytes) -> None:
        if self._plan.control is None:
            return
        with contextlib.suppress(KeyError):  # the child has closed its end
            self.transport.writeToChild(self._plan.control, data)  # type: ignore[union-attr]

    # ProcessProtocol

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == self._plan.report:
            self._reported(data)
            return
        lines = self._lines.get(childFD)
        if lines is None:
            return
        lines.feed(data)
        if lines.excess and self._exit is None:
            self._throttle.pause(self.transport, childFD, lines.excess)
        if lines.losing and self._flush_call is None:
            self._flush_call = self._around.reactor.callLater(1.0, self._flush)

    def processExited(self, reason: Failure) -> None:
        self._exit = _exit_of(reason)
        self._throttle.end(self.transport)
        self._kill_call = cancelled(self._kill_call)
        self._owner.process_exited(self)
        if self._group is None:
            self._gone(True)
        else:
            self._around.remains.end(self._group, self._gone, forks=self._plan.forks)

    def processEnded(self, reason: Failure) -> None:
        self._output_gone = True
        self._close_call = cancelled(self._close_call)
        self._flush_call = cancelled(self._flush_call)
        for lines in self._lines.values():
            lines.end()
        self._finish()

    def _gone(self, ended: bool) -> None:
        self._group_gone = True
        if not ended:
            self._group = None  # the record stays: the next start tries again
        if not self._output_gone:
            # Only something that left the group and lost its marker can still hold a pipe.
            self._close_call = self._around.reactor.callLater(OUTPUT_PATIENCE, self._close)
        self._finish()

    def _close(self) -> None:
        self._close_call = None
        if self.transport is not None:
            self.transport.loseConnection()

    def _finish(self) -> None:
        if not (self._group_gone and self._output_gone) or self._exit is None:
            return
        if self._group is not None:
            self._around.warden.forget(self._group)
            try:
                self._around.records.remove(self._group)
            except OSError as error:
                self._log.warn("{tenant}: record: {error}", tenant=self.tenant, error=error)
        self._owner.process_ended(self, self._exit)

    # What it says

    def _reported(self, data: bytes) -> None:
        self._report += data
        while (end := self._report.find(b"\n")) >= 0:
            line = bytes(self._report[:end])
            del self._report[: end + 1]
            self._event(line)
        if len(self._report) > MAX_REPORT:
            self._report.clear()

    def _event(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._log.warn("{tenant}: a report that is no JSON object", tenant=self.tenant)
            return
        if message.get("event") == "ready":
            port = message.get("port")
            self.port = port if type(port) is int else None
            self._owner.process_ready(self)
        elif message.get("event") == "standby":
            self._owner.process_standby(self)
        elif message.get("event") == "refused":
            self.refusal = str(message.get("reason"))
        elif message.get("event") in ("held", "released"):
            if self.kept is not None:
                self.kept(message)
        elif self.heard is not None:
            self.heard(message)

    def _lines_of(self, stream: str) -> Lines:
        output = self._around.output

        def emit(lines: list[str]) -> None:
            if stream == "stderr":
                self.errors.extend(lines)
            output.lines(self.tenant, stream, lines)

        def dropped(count: int) -> None:
            output.dropped(self.tenant, stream, count)

        clock: Callable[[], float] = self._around.reactor.seconds
        return Lines(emit, dropped, clock)

    def _flush(self) -> None:
        self._flush_call = None
        for lines in self._lines.values():
            lines.flush()


def cancelled(call: IDelayedCall | None) -> IDelayedCall | None:
    """Cancel `call` if it is still to come; always None, to be kept in its place."""
    if call is not None and call.active():
        call.cancel()
    return None


def _exit_of(reason: Failure) -> Exit:
    code = getattr(reason.value, "exitCode", None)
    signum = getattr(reason.value, "signal", None)
    return Exit(code, signum) if signum is not None else Exit(code or 0)


def inherited_sockets(unix: int | None, port: int | None) -> dict[int, int]:
    """Map the child's listening descriptors to ours."""
    pairs = {SOCKET_FD: unix, PORT_FD: port}
    return {child: ours for child, ours in pairs.items() if ours is not None}
