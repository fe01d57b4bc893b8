"""A configuration read in another process, as a Deferred."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from sqsuper import interpreter
from sqsuper.config.model import Config
from sqsuper.reloading.reader import BOOT, GarbledError, read
from sqsuper.slices import Slices
from sqsuper.sockets.capabilities import told_to_children

# Seconds after which a reader that has not ended, as on a file system that hangs, is killed.
PATIENCE = 120.0
MAX_COMPLAINT = 4096


class RefusedError(Exception):
    """A configuration that is not gone over to. `errors`: lines for people, one each."""

    def __init__(self, *errors: str) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class Reading:
    """Reads configurations, one process each."""

    def __init__(self, reactor: Any, slices: Slices, patience: float = PATIENCE) -> None:
        self._reactor = reactor
        self._slices = slices
        self._patience = patience
        self._readers: set[_Reader] = set()

    async def read(self, running: Config) -> Config:
        """Return the configuration that is in `running`'s file now. Raises RefusedError.

        See `reader.read` on what of it is the same.
        """
        file = running.file
        reader = _Reader(self._reactor, self._patience)
        self._readers.add(reader)
        try:
            written = await reader.spawn(file)
        finally:
            self._readers.discard(reader)
        try:
            found = await self._slices.run(read(written, running))
        except GarbledError:
            raise RefusedError(_not_read(file, "what was read is not whole")) from None
        if isinstance(found, str):
            raise RefusedError(found)
        return found

    def stop(self) -> list[Deferred[None]]:
        """End what is being read; return what fires when each process is gone."""
        return [reader.stop() for reader in list(self._readers)]


class _Reader(ProcessProtocol):
    def __init__(self, reactor: Any, patience: float) -> None:
        self._reactor = reactor
        self._patience = patience
        self._written: list[bytes] = []
        self._complaint = b""
        self._done: Deferred[bytes] = Deferred()
        self._gone: list[Deferred[None]] = []
        self._file = Path()
        self._why = ""
        self._late: Any = None

    async def spawn(self, file: Path) -> bytes:
        self._file = file
        environment = {name: os.environ[name] for name in ("LANG", "TZ") if name in os.environ}
        argv = [*interpreter.with_ours(BOOT), str(file)]
        try:
            self._reactor.spawnProcess(
                self,
                argv[0],
                args=argv,
                env={
                    "PATH": os.environ.get("PATH") or os.defpath,
                    **told_to_children(),
                    **environment,
                },
            )
        except OSError as error:
            raise RefusedError(_not_read(file, f"no process: {error.strerror}")) from error
        self._late = self._reactor.callLater(self._patience, self._too_late)
        return await self._done

    def stop(self) -> Deferred[None]:
        gone: Deferred[None] = Deferred()
        self._gone.append(gone)
        self._kill("it was stopped")
        return gone

    def _too_late(self) -> None:
        self._kill(f"it took longer than {self._patience:g} s")

    def _kill(self, why: str) -> None:
        self._why = why
        if self.transport is not None:
            with suppress(ProcessExitedAlready, OSError):
                self.transport.signalProcess("KILL")

    # ProcessProtocol

    def connectionMade(self) -> None:
        self.transport.closeStdin()  # type: ignore[union-attr]

    def outReceived(self, data: bytes) -> None:
        self._written.append(data)

    def errReceived(self, data: bytes) -> None:
        self._complaint = (self._complaint + data)[-MAX_COMPLAINT:]

    def processEnded(self, reason: Failure) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()
        if reason.check(ProcessDone):
            self._done.callback(b"".join(self._written))
        else:
            last = self._complaint.decode("utf-8", "backslashreplace").strip().rpartition("\n")[2]
            why = self._why or last or reason.getErrorMessage()
            self._done.errback(RefusedError(_not_read(self._file, why)))
        for gone in self._gone:
            gone.callback(None)


def _not_read(file: Path, why: str) -> str:
    return " ".join(f"{file}: cannot be read: {why}".split())
