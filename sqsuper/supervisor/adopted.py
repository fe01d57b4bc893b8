"""A process that somebody else forked and that became our child: its pipes and its end.

Its protocol sees the same calls, in the same order, as that of a spawned process.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from typing import NoReturn

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.fdesc import writeToFD
from twisted.internet.interfaces import IProcessTransport, IReactorFDSet
from twisted.internet.process import (
    ProcessReader,
    ProcessWriter,
    registerReapProcessHandler,
    unregisterReapProcessHandler,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sqsuper.supervisor.plan import CONTROL_FD, REPORT_FD

# A status that nobody can know any more is no success.
UNKNOWN_STATUS = 255 << 8


class Pipes:
    """Both ends of a future child's pipes, by the child's descriptor."""

    def __init__(self) -> None:
        """Make them; raises OSError."""
        self.ours: dict[int, int] = {}
        self.theirs: dict[int, int] = {}
        try:
            for fd in (1, 2, REPORT_FD):
                self.ours[fd], self.theirs[fd] = os.pipe()
            self.theirs[CONTROL_FD], self.ours[CONTROL_FD] = os.pipe()
        except OSError:
            self.close()
            raise

    def close_theirs(self) -> None:
        """The child has its ends."""
        _close_all(self.theirs)

    def close(self) -> None:
        """Close all that is open: a child that waits for our word ends."""
        _close_all(self.theirs)
        _close_all(self.ours)


def is_our_child(pid: int) -> bool:
    """Whether we can wait for `pid`; takes no status."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return True


class ControlWriter(ProcessWriter):
    """Writes at once what the pipe takes, which costs less than a turn of the reactor."""

    _waits = False

    def startWriting(self) -> None:
        self._waits = True
        super().startWriting()  # type: ignore[no-untyped-call]

    def stopWriting(self) -> None:
        self._waits = False
        super().stopWriting()  # type: ignore[no-untyped-call]

    def write(self, data: bytes) -> None:
        if not self._waits and self.connected and not self.disconnecting:
            sent = writeToFD(self.fileno(), data)  # type: ignore[no-untyped-call]
            if isinstance(sent, int):
                data = data[sent:]
                if not data:
                    return
        super().write(data)  # type: ignore[no-untyped-call]


@implementer(IProcessTransport)
class Adopted:
    """A running or already ended child of ours, whose pid nobody has waited for."""

    _log = Logger()

    def __init__(
        self, reactor: IReactorFDSet, protocol: ProcessProtocol, pid: int, pipes: Pipes
    ) -> None:
        """Connect `protocol`; its `processExited` may come inside. Owns `pipes` from now on."""
        self.pid: int | None = pid
        self._known = pid
        self._protocol: ProcessProtocol | None = protocol
        self._end: Failure | None = None
        self.pipes: dict[int, FileDescriptor] = {}
        pipes.close_theirs()
        for fd, our in pipes.ours.items():
            self.pipes[fd] = (
                ControlWriter(reactor, self, fd, our, forceReadHack=True)  # type: ignore[no-untyped-call]
                if fd == CONTROL_FD
                else ProcessReader(reactor, self, fd, our)
            )
        pipes.ours.clear()
        with self._logged("makeConnection"):
            protocol.makeConnection(self)
        registerReapProcessHandler(pid, self)

    # For the registry of children

    def reapProcess(self) -> None:
        """Take the status if there is one."""
        try:
            pid, status = os.waitpid(self._known, os.WNOHANG)
        except ChildProcessError:
            self._log.error("the status of process {pid} is lost", pid=self._known)
            pid, status = self._known, UNKNOWN_STATUS
        if pid:
            unregisterReapProcessHandler(self._known, self)
            self.processEnded(status)

    def processEnded(self, status: int) -> None:
        """Take the `status` with which it was reaped."""
        self.pid = None
        self._end = Failure(_reason(status))
        if self._protocol is not None:
            with self._logged("processExited"):
                self._protocol.processExited(self._end)
        self._finish()

    # For the pipes

    def childDataReceived(self, name: int, data: bytes) -> None:
        """Pass on what was read."""
        if self._protocol is not None:
            self._protocol.childDataReceived(name, data)

    def childConnectionLost(self, name: int, reason: Failure) -> None:
        """Close a pipe whose other end is closed, or that we let go of."""
        os.close(self.pipes.pop(name).fileno())
        if self._protocol is not None:
            with self._logged("childConnectionLost"):
                self._protocol.childConnectionLost(name)
        self._finish()

    def _finish(self) -> None:
        if self.pipes or self._protocol is None:
            return
        if self._end is None:
            self.reapProcess()
            return
        protocol, self._protocol = self._protocol, None
        with self._logged("processEnded"):
            protocol.processEnded(self._end)

    @contextlib.contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        """Keep what the protocol raises out of the reactor's and the registry's loops."""
        try:
            yield
        except Exception:
            self._log.failure("{what} of process {pid}", what=what, pid=self._known)

    # IProcessTransport

    def signalProcess(self, signalID: str | int) -> None:
        if self.pid is None:
            raise ProcessExitedAlready
        number = signal.Signals[f"SIG{signalID}"] if isinstance(signalID, str) else signalID
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            raise ProcessExitedAlready from None

    def writeToChild(self, childFD: int, data: bytes) -> None:
        """Raises KeyError when that pipe is closed."""
        self.pipes[childFD].write(data)

    def closeChildFD(self, childFD: int) -> None:
        if childFD in self.pipes:
            self.pipes[childFD].loseConnection()

    def closeStdin(self) -> None:
        """There is nothing to close: its standard input is /dev/null."""

    def closeStdout(self) -> None:
        self.closeChildFD(1)

    def closeStderr(self) -> None:
        self.closeChildFD(2)

    def write(self, data: bytes) -> None:
        """It has no standard input of ours: lost."""

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """It has no standard input of ours: lost."""

    def getPeer(self) -> NoReturn:
        raise NotImplementedError

    def getHost(self) -> NoReturn:
        raise NotImplementedError

    def loseConnection(self) -> None:
        """Let go of all pipes."""
        for fd in list(self.pipes):
            self.closeChildFD(fd)


def _reason(status: int) -> Exception:
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return ProcessDone(status)
    if code < 0:
        return ProcessTerminated(None, -code, status)
    return ProcessTerminated(code, None, status)


def _close_all(descriptors: dict[int, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])
