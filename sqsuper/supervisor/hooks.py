"""`on_event`: the operator's program, run with an event as JSON on its standard input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from sqsuper import interpreter
from sqsuper.sockets.capabilities import HERE, NEEDED
from sqsuper.supervisor import groups
from sqsuper.supervisor.events import Event
from sqsuper.supervisor.hook_rules import Rules
from sqsuper.supervisor.output import printable
from sqsuper.supervisor.process import cancelled

MOST_SECONDS = 10.0
OUTPUT_PATIENCE = 1.0
MAX_OUTPUT = 2048
LOG_INTERVAL = 60.0

# A session, so a group, of its own; and signals as a program expects them.
_BEGIN = """\
import os, signal, sys
grouped, directory, *argv = sys.argv[1:]
try:
    os.chdir(directory)
    if not int(grouped):
        import subprocess
        sys.exit(subprocess.call(argv))
    os.setsid()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(argv[0], argv)
except OSError as error:
    sys.stderr.write(f"{argv[0]}: {error.strerror}\\n")
    os._exit(127)
"""


def encoded(event: Event) -> bytes:
    """Return one line of JSON: `at`, `kind`, `tenant`, `cause`, `text`, `facts`."""
    fields = {
        "at": event.at,
        "kind": event.kind.value,
        "tenant": event.tenant,
        "cause": event.cause,
        "text": event.text,
        "facts": dict(event.facts),
    }
    return json.dumps(fields).encode("ascii") + b"\n"


def program(argv: Sequence[str], directory: Path) -> list[str]:
    """Return `argv` with the program's path, if it is one, taken from `directory`."""
    first = argv[0]
    return [str(directory / first) if "/" in first else first, *argv[1:]]


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the program's whole environment."""
    kept = {name: inherited[name] for name in ("LANG", "TZ", "HOME", *NEEDED) if name in inherited}
    return {**kept, "PATH": inherited.get("PATH") or os.defpath}


class Hooks:
    """Runs `argv` for events; what goes wrong is logged and changes nothing else."""

    _log = Logger()

    def __init__(self, argv: Sequence[str] | None, directory: Path, *, reactor: Any) -> None:
        """`directory`: what the program runs in, and its path, if relative, begins with."""
        self._reactor = reactor
        self._rules = Rules()
        self._running: set[_Run] = set()
        self._ended: list[Deferred[None]] = []
        self._told_dropped = 0
        self._told_at: float | None = None
        self._open = False
        self._closed = False
        self._argv: list[str] | None = None
        self.apply(argv, directory)

    def apply(self, argv: Sequence[str] | None, directory: Path) -> None:
        """Run another program from now on, or none."""
        self._argv = [str(directory), *program(argv, directory)] if argv else None
        if self._argv is None:
            self._rules.clear()

    def take(self, event: Event) -> None:
        """Run the program for `event`, now or in its turn, if it is one to run for."""
        if self._closed or self._argv is None:
            return
        self._rules.take(event, self._reactor.seconds())
        self._tell_dropped()
        self._go_on()

    def open(self) -> None:
        """The service has started: what it came to before is told now."""
        self._open = True
        self._closed = False
        self._go_on()

    def close(self) -> Deferred[None]:
        """Kill what runs; fires when all of it is gone."""
        self._open = False
        self._closed = True
        self._rules.clear()
        for run in list(self._running):
            run.kill()
        if not self._running:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        return ended

    def _go_on(self) -> None:
        while self._open and self._argv is not None and (event := self._rules.next()) is not None:
            run = _Run(event, self._reactor, self._over)
            self._running.add(run)
            try:
                run.start(self._argv)
            except (OSError, ValueError, TypeError) as error:
                # Not only OSError: there is text that the system's interface cannot take.
                self._over(run, f"cannot be started: {error}")

    def _over(self, run: _Run, problem: str | None) -> None:
        self._running.discard(run)
        self._rules.done()
        if problem is not None and not self._closed:
            self._log.warn(
                "on_event, for {kind} of {tenant}: {problem}",
                kind=run.event.kind.value,
                tenant=run.event.tenant,
                problem=problem,
            )
        if self._closed and not self._running:
            ended, self._ended = self._ended, []
            for one in ended:
                one.callback(None)
        self._go_on()

    def _tell_dropped(self) -> None:
        now = self._reactor.seconds()
        dropped = self._rules.dropped - self._told_dropped
        if dropped and (self._told_at is None or now - self._told_at >= LOG_INTERVAL):
            self._told_at = now
            self._told_dropped = self._rules.dropped
            self._log.warn("on_event: {count} events dropped, it is too slow", count=dropped)


class _Run(ProcessProtocol):
    """One run of the program, with its process group."""

    def __init__(
        self, event: Event, reactor: Any, over: Callable[[_Run, str | None], None]
    ) -> None:
        self.event = event
        self._reactor = reactor
        self._over = over
        self._output = bytearray()
        self._late = False
        self._kill_call: IDelayedCall | None = None
        self._close_call: IDelayedCall | None = None
        self._pid: int | None = None

    def start(self, argv: Sequence[str]) -> None:
        """Start it; `argv`: its directory, then the program's own.

        Raises OSError, ValueError or TypeError; then `over` is not called.
        """
        wrapped = [*interpreter.with_text(_BEGIN), str(int(HERE.groups)), *argv]
        self._reactor.spawnProcess(self, wrapped[0], args=wrapped, env=environment(os.environ))

    def kill(self) -> None:
        """End it and its group now."""
        self._kill_call = cancelled(self._kill_call)
        if self._pid is None:
            return
        self._kill_group(self._pid)
        groups.end_descendants(self._pid)
        with suppress(OSError, ProcessExitedAlready):  # it may not have made its group yet
            self.transport.signalProcess("KILL")  # type: ignore[union-attr]

    def _kill_group(self, pid: int) -> None:
        groups.end_group(pid)

    def _too_late(self) -> None:
        self._kill_call = None
        self._late = True
        self.kill()

    # ProcessProtocol

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._pid = transport.pid
        self._kill_call = self._reactor.callLater(MOST_SECONDS, self._too_late)
        transport.write(encoded(self.event))
        transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._output += data[: MAX_OUTPUT - len(self._output)]

    def processExited(self, reason: Failure) -> None:
        self._kill_call = cancelled(self._kill_call)
        pid, self._pid = self._pid, None
        if pid is not None:
            # It was reaped just now, and while others of its group live its pid is not free.
            self._kill_group(pid)
        # Only something that left the group can hold a pipe for longer.
        self._close_call = self._reactor.callLater(OUTPUT_PATIENCE, self._close)

    def processEnded(self, reason: Failure) -> None:
        self._kill_call = cancelled(self._kill_call)
        self._close_call = cancelled(self._close_call)
        self._over(self, self._problem(reason))

    def _close(self) -> None:
        self._close_call = None
        if self.transport is not None:
            self.transport.loseConnection()

    def _problem(self, reason: Failure) -> str | None:
        code = getattr(reason.value, "exitCode", None)
        signum = getattr(reason.value, "signal", None)
        if self._late:
            problem = f"killed, it took over {MOST_SECONDS:g} s"
        elif signum is not None:
            problem = f"killed by signal {signum}"
        elif code:
            problem = f"exit status {code}"
        else:
            return None
        said = " ".join(printable(line) for line in bytes(self._output).split(b"\n")).strip()
        return f"{problem}: {said}" if said else problem
