"""One worker as its parent has it: the process, its control channel, what it prints."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from sqsuper import interpreter
from sqsuper.gateway.channel import Channel, ChannelFactory, Handler
from sqsuper.gateway.worker import BOARD_FD, BOOT, CONTROL_FD, FIRST_PORT_FD

MAX_LINE = 8192

log = Logger()


class Owner(Protocol):
    """Who is told of a worker's life."""

    def handlers(self, worker: WorkerProcess) -> Mapping[str, Handler]:
        """Return who takes what the worker says, by kind."""

    def ended(self, worker: WorkerProcess, how: str) -> None:
        """The process is gone, and all that it printed was taken."""


class WorkerProcess(ProcessProtocol):
    """Worker `number` of `workers`, from its spawn to its last byte of output."""

    def __init__(self, number: int, owner: Owner, reactor: Any) -> None:
        self.number = number
        self.serving = False
        self.deaf = False
        self.missed = 0
        self.inflight: dict[str, int] = {}
        self.begun = reactor.seconds()
        self._owner = owner
        self._reactor = reactor
        self._exited = False
        self._ended = False
        self._line = b""
        handlers = {"log": self._logs, **owner.handlers(self)}
        self._channel = Channel({k: self._alive(h) for k, h in handlers.items()}, _nothing)

    @property
    def pid(self) -> int | None:
        """Its pid until it is reaped; then None."""
        if self.transport is None or self._exited:
            return None
        pid: int | None = self.transport.pid
        return pid

    def spawn(self, workers: int, board: int, ports: Sequence[int]) -> None:
        """Start it, with these descriptors. Raises OSError."""
        words = (os.getpid(), self.number, workers)
        argv = [*interpreter.with_ours(BOOT), *map(str, words)]
        ours, theirs = socket.socketpair()
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            ours.setblocking(False)
            descriptors: dict[int, Any] = {0: nothing, 1: 1, 2: "r"}
            descriptors |= {CONTROL_FD: theirs.fileno(), BOARD_FD: board}
            descriptors |= {FIRST_PORT_FD + at: port for at, port in enumerate(ports)}
            if not _is_open(1):
                descriptors[1] = nothing
            self._reactor.spawnProcess(
                self,
                argv[0],
                args=argv,
                env=_environment(),
                childFDs=descriptors,
            )
            self._reactor.adoptStreamConnection(
                ours.fileno(), socket.AF_UNIX, ChannelFactory(self._channel)
            )
        finally:
            os.close(nothing)
            theirs.close()
            ours.close()

    def say(self, kind: str, *facts: Any) -> None:
        """Tell it something; nothing happens when it is gone."""
        self._channel.say(kind, *facts)

    def hand(self, fd: int) -> None:
        """Send a descriptor, which stays ours, for what is said next."""
        self._channel.hand(fd)

    def answered(self, inflight: dict[str, int]) -> None:
        """Note that it is alive, and how many requests of which tenants it has under way."""
        self.missed = 0
        self.inflight = inflight

    def kill(self) -> None:
        """End it at once."""
        if self.transport is not None and not self._exited:
            with suppress(ProcessExitedAlready, OSError):
                self.transport.signalProcess(signal.SIGKILL)

    # ProcessProtocol

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Log what it prints: nothing, but for what an interpreter says when it fails."""
        *lines, rest = (self._line + data).split(b"\n")
        self._line = rest[:MAX_LINE]
        for line in lines:
            self._prints(line)

    def processExited(self, reason: Failure) -> None:
        self._exited = True
        self.serving = False

    def processEnded(self, reason: Failure) -> None:
        if self._line:
            self._prints(self._line)
        self._exited = self._ended = True
        self.serving = False
        self._channel.end()
        value: Any = reason.value
        if getattr(value, "signal", None):
            how = f"killed by signal {value.signal}"
        else:
            how = f"exit status {value.exitCode or 0}"
        self._owner.ended(self, how)

    def _alive(self, handler: Handler) -> Handler:
        """What it had said before it ended, and is read after that, must not give it anything."""

        def guarded(*facts: Any) -> None:
            if not self._ended:
                handler(*facts)

        return guarded

    def _prints(self, line: bytes) -> None:
        text = line[:MAX_LINE].decode("utf-8", "backslashreplace")
        shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
        log.error("worker {number}: {line}", number=self.number, line=shown)

    def _logs(self, level: str, text: str) -> None:
        log.emit(
            LogLevel.lookupByName(level), "worker {number}: {text}", number=self.number, text=text
        )


def _environment() -> dict[str, str]:
    found = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    return {"PATH": os.defpath, **found}


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _nothing() -> None:
    pass
