"""Adopted processes: their protocol sees what that of a spawned process sees."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.process import reapProcessHandlers
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from sqsuper.supervisor.adopted import Adopted, Pipes, is_our_child
from sqsuper.supervisor.plan import CONTROL_FD, REPORT_FD
from tests.unit.supervisor.support import eventually, in_reactor

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="no posix_spawn")

Begin = Callable[[ProcessProtocol, str], Any]


class Witness(ProcessProtocol):
    """Records what it is told, bytes of one descriptor joined."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.heard: dict[int, bytes] = {}
        self.pid_at_start: int | None = None

    def connectionMade(self) -> None:
        self.pid_at_start = self.transport.pid  # type: ignore[union-attr]
        self.calls.append(("made",))

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.heard[childFD] = self.heard.get(childFD, b"") + data

    def childConnectionLost(self, childFD: int) -> None:
        self.calls.append(("closed", childFD))

    def processExited(self, reason: Failure) -> None:
        assert self.transport is not None
        assert self.transport.pid is None
        self.calls.append(("exited", *facts(reason)))

    def processEnded(self, reason: Failure) -> None:
        self.calls.append(("ended", *facts(reason)))

    @property
    def ended(self) -> bool:
        return bool(self.calls) and self.calls[-1][0] == "ended"


async def call_of(witness: Witness, call: tuple[object, ...]) -> None:
    await eventually(lambda: call in witness.calls)


async def end_of(witness: Witness) -> None:
    await eventually(lambda: witness.ended)


def facts(reason: Failure) -> tuple[object, ...]:
    value = reason.value
    assert isinstance(value, ProcessDone | ProcessTerminated)
    return type(value), value.exitCode, value.signal, value.status


def spawn(protocol: ProcessProtocol, script: str) -> Any:
    from twisted.internet import reactor

    descriptors = {0: "w", 1: "r", 2: "r", REPORT_FD: "r", CONTROL_FD: "w"}
    transport = reactor.spawnProcess(protocol, "sh", ["sh", "-c", script], childFDs=descriptors)
    transport.closeStdin()
    return transport


def adopt(protocol: ProcessProtocol, script: str, *, when_dead: bool = False) -> Any:
    from twisted.internet import reactor

    pipes = Pipes()
    # Above all numbers that are given out first.
    moved = {
        child: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for child, fd in pipes.theirs.items()
    }
    actions = [(os.POSIX_SPAWN_DUP2, fd, child) for child, fd in moved.items()]
    pid = os.posix_spawnp("sh", ["sh", "-c", script], os.environ, file_actions=actions)
    for fd in moved.values():
        os.close(fd)
    if when_dead:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return Adopted(reactor, protocol, pid, pipes)


def adopt_dead(protocol: ProcessProtocol, script: str) -> Any:
    return adopt(protocol, script, when_dead=True)


@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        "exit 3",
        "kill -SEGV $$",
        "kill -KILL $$",
        "echo out; echo err >&2; echo report >&4; exit 5",
        "exec 1>&- 2>&-; exit 1",
    ],
)
@in_reactor
async def test_ends_look_the_same(script: str) -> None:
    seen = []
    for begin in (spawn, adopt, adopt_dead):
        witness = Witness()
        begin(witness, script)
        await end_of(witness)
        assert witness.pid_at_start is not None
        assert witness.calls[0] == ("made",)
        kinds = [call for call in witness.calls if call[0] in {"exited", "ended"}]
        closed = {call[1] for call in witness.calls if call[0] == "closed"} - {0}
        seen.append((kinds, closed, witness.heard))
        assert witness.pid_at_start not in reapProcessHandlers
    assert seen[0] == seen[1] == seen[2]


@in_reactor
async def test_what_is_written_arrives_and_an_end_is_seen() -> None:
    for begin in (spawn, adopt):
        witness = Witness()
        transport = begin(witness, "read word <&3; echo got $word; exec 3<&-; exec sleep 60")
        transport.writeToChild(CONTROL_FD, b"hello\n")
        await call_of(witness, ("closed", CONTROL_FD))
        assert witness.heard[1] == b"got hello\n"
        with pytest.raises(KeyError):
            transport.writeToChild(CONTROL_FD, b"more")
        transport.signalProcess("KILL")
        await end_of(witness)
        with pytest.raises(ProcessExitedAlready):
            transport.signalProcess(signal.SIGTERM)


@in_reactor
async def test_letting_go_of_output_that_somebody_else_holds() -> None:
    witness = Witness()
    transport = adopt(witness, "sleep 60 & echo $!; exit 0")
    await eventually(lambda: 1 in witness.heard)
    try:
        await eventually(lambda: any(call[0] == "exited" for call in witness.calls))
        assert not witness.ended
        transport.loseConnection()
        await end_of(witness)
    finally:
        os.kill(int(witness.heard[1]), signal.SIGKILL)


@in_reactor
async def test_a_protocol_that_raises_stops_nothing() -> None:
    class Clumsy(Witness):
        def connectionMade(self) -> None:
            super().connectionMade()
            raise RuntimeError("made")

        def processExited(self, reason: Failure) -> None:
            super().processExited(reason)
            raise RuntimeError("exited")

    witness = Clumsy()
    adopt_dead(witness, "exit 3")
    await end_of(witness)


@in_reactor
async def test_a_status_that_somebody_else_took_is_no_success() -> None:
    witness = Witness()
    transport = adopt(witness, "read word <&3")
    pid = transport.pid
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    await end_of(witness)
    assert witness.calls[-1][2] == 255
    assert not is_our_child(pid)


def test_whose_child_it_is() -> None:
    assert not is_our_child(os.getpid())
    assert not is_our_child(1)
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert is_our_child(pid)
    assert is_our_child(pid)  # it took no status
    assert os.waitpid(pid, 0) == (pid, 0)
    assert not is_our_child(pid)


def test_pipes_that_cannot_be_made_leave_none_open(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/dev/fd")
    real, count = os.pipe, iter(range(10))

    def pipe() -> tuple[int, int]:
        if next(count) == 2:
            raise OSError(24, "Too many open files")
        return real()

    monkeypatch.setattr(os, "pipe", pipe)
    with pytest.raises(OSError, match="Too many"):
        Pipes()
    assert len(os.listdir("/dev/fd")) == len(before)
