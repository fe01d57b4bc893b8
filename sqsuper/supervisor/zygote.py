"""The zygote as the supervisor sees it: a process, and a socket for messages to it and back."""

from __future__ import annotations

import array
import contextlib
import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sqsuper import interpreter
from sqsuper.supervisor.output import Lines
from sqsuper.supervisor.plan import Plan

PROGRAM = Path(__file__).with_name("zygote_main.py")
CHANNEL_FD = 3
MAX_MESSAGE = 60_000
MAX_ANSWER = 4096
ROOM = 2048

# As `zygote_main` says them.
_ANSWER = re.compile(rb"([0-9]{1,18}) (?:([0-9]{1,9})|error (.*))", re.DOTALL)


@attrs.frozen
class Answer:
    """What came of the question `number`: a pid, or why there is none."""

    number: int
    told: int | str


Heard = Callable[["Zygote", "Answer | None"], None]
Lost = Callable[["Zygote", str], None]


@implementer(IReadDescriptor)
class _Channel:
    """Our end of the SEQPACKET pair."""

    def __init__(self, reactor: Any, ours: socket.socket, zygote: Zygote) -> None:
        self.socket = ours
        self._reactor = reactor
        self._zygote = zygote
        ours.setblocking(False)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self.socket.fileno()

    def doRead(self) -> None:
        # A bounded number, so that nobody else waits long.
        for _ in range(64):
            try:
                data = self.socket.recv(MAX_ANSWER)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self._zygote.heard(data)
            if not data or self.socket.fileno() < 0:
                return

    def connectionLost(self, reason: Failure) -> None:
        """The reactor goes down."""
        self.socket.close()

    def logPrefix(self) -> str:
        return "zygote"

    def close(self) -> None:
        if self.socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self.socket.close()


class Zygote(ProcessProtocol):
    """One zygote process, from its start to its end.

    `heard(self, answer)`: it said this; None: that it is warm. `lost(self, why)`: it takes no
    more messages; called once, and never after `end` or `kill`.
    """

    _log = Logger()

    def __init__(self, reactor: Any, room: Path, *, heard: Heard, lost: Lost) -> None:
        """`room`: a directory of that name is made to warm up in, and removed."""
        self._reactor = reactor
        self._room = room
        self._heard = heard
        self._lost: Lost | None = lost
        self._channel: _Channel | None = None
        self._ends: list[Deferred[None]] = []
        self._lines = {1: self._lines_of("stdout"), 2: self._lines_of("stderr")}
        self._kill_call: Any = None
        self.gone = False
        """Whether it is reaped and its output read."""

    @property
    def pid(self) -> int | None:
        """Its pid until it is reaped."""
        return None if self.transport is None else self.transport.pid

    def start(self, paths: tuple[str, ...]) -> None:
        """Start the process, which imports the engine from `paths`. Raises OSError."""
        argv = [*interpreter.with_file(PROGRAM), "--parent", str(os.getpid())]
        argv += ["--room", str(self._room)]
        for path in paths:
            argv += ["--path", path]
        # What children have in common, and nothing that is meant for one of them.
        shared = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        # Where a child's own variables are shown to whoever looks at its process.
        shared["SQSUPER_ROOM"] = "." * ROOM
        # What each child would otherwise look up for itself, and write down.
        shared["LD_BIND_NOW"] = "1"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._reactor.spawnProcess(
                self,
                argv[0],
                args=argv,
                env=shared,
                childFDs={0: nothing, 1: "r", 2: "r", CHANNEL_FD: theirs.fileno()},
            )
        except OSError:
            ours.close()
            raise
        finally:
            os.close(nothing)
            theirs.close()
        self._channel = _Channel(self._reactor, ours, self)

    def ask(self, number: int, plan: Plan, descriptors: Mapping[int, int]) -> None:
        """Ask it to fork `plan`; `descriptors` maps the child's to ours.

        Its answer carries `number`. Raises OSError when it cannot be asked now, ValueError for
        text that cannot be passed on.
        """
        if self._channel is None:
            raise OSError("the zygote is gone")
        numbers = ",".join(map(str, sorted(descriptors)))
        words = (plan.tenant, *plan.words)
        variables = [f"{name}={value}" for name, value in plan.environment.items()]
        if "" in words or any("\0" in text for text in (*words, *variables)):
            raise ValueError("an empty text, or a zero inside of one")
        texts = "\0".join((*words, "", *variables, ""))
        data = f"{number} {numbers} {texts}".encode("utf-8", "surrogateescape")
        if len(data) > MAX_MESSAGE:
            raise OSError("too long a message for the zygote")
        passed = array.array("i", (descriptors[child] for child in sorted(descriptors)))
        self._channel.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])

    def end(self, patience: float) -> Deferred[None]:
        """Let it end, KILL after `patience` seconds; fires when it is gone."""
        self._close()
        self._lost = None
        done: Deferred[None] = Deferred()
        if self.gone:
            done.callback(None)
        else:
            self._ends.append(done)
            if self._kill_call is None:
                self._kill_call = self._reactor.callLater(patience, self.kill)
        return done

    def kill(self) -> None:
        """End it at once."""
        self._close()
        self._lost = None
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(signal.SIGKILL)  # type: ignore[union-attr]

    def heard(self, data: bytes) -> None:
        """Take one message, or the end (for the channel)."""
        answer = _ANSWER.fullmatch(data)
        if data == b"ready":
            self._heard(self, None)
        elif answer is not None:
            number, pid, why = answer.groups(b"")
            told = int(pid) if pid else why.decode(errors="replace")
            self._heard(self, Answer(int(number), told))
        else:
            # Without its socket it is of no use; its end tells why.
            self._close()
            self._kill_after_a_moment()

    def _kill_after_a_moment(self) -> None:
        if self._kill_call is None and not self.gone:
            self._kill_call = self._reactor.callLater(1.0, self._useless)

    def _useless(self) -> None:
        self._tell("it closed its socket")
        self.kill()

    # ProcessProtocol

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._lines[childFD].feed(data)

    def processExited(self, reason: Failure) -> None:
        self._close()
        self._tell(reason.getErrorMessage())

    def processEnded(self, reason: Failure) -> None:
        self.gone = True
        if self._kill_call is not None and self._kill_call.active():
            self._kill_call.cancel()
        for lines in self._lines.values():
            lines.end()
        # It removes that itself, unless it was killed just then.
        shutil.rmtree(self._room, ignore_errors=True)
        ends, self._ends = self._ends, []
        for done in ends:
            done.callback(None)

    def _tell(self, why: str) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(self, why)

    def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _lines_of(self, stream: str) -> Lines:
        def emit(lines: list[str]) -> None:
            text = "\n".join([f"zygote {stream}: {line}" for line in lines])
            self._log.info("{lines}", lines=text)

        def dropped(count: int) -> None:
            self._log.warn("zygote {stream}: {count} lines dropped", stream=stream, count=count)

        return Lines(emit, dropped, self._reactor.seconds)
