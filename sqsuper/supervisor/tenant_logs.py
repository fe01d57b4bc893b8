"""Where the children's lines go: the service's log, the tenants' files, the last ones to memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Sequence
from datetime import datetime, timezone
from typing import Any

import attrs
from twisted.logger import Logger

from sqsuper.config.model import Log
from sqsuper.supervisor.log_files import LogFiles
from sqsuper.supervisor.log_writer import LogWriter

KEPT_LINES = 200
KEPT_CHARACTERS = 64 * 1024
KEPT_ERRORS = 20
LONGEST_ERROR = 1024
FLOOD = 100
"""More lines than this at once become one entry of the service's log: that is far cheaper."""
COMPLAINT_INTERVAL = 60.0
CLOSING_PATIENCE = 2.0
STDERR = "stderr"
OURS = "sqsuper"
"""The stream of lines that the supervisor itself puts among a child's."""


@attrs.frozen
class Line:
    """One line of a tenant's. `at`: seconds since the epoch, when it was read."""

    at: float
    stream: str
    text: str


class Recent:
    """The last lines of one tenant, `KEPT_LINES` and `KEPT_CHARACTERS` at most.

    `errors`: the last `KEPT_ERRORS` of standard error, which other lines do not push out.
    """

    __slots__ = ("_characters", "errors", "lines")

    def __init__(self) -> None:
        self.lines: deque[Line] = deque()
        self.errors: deque[Line] = deque(maxlen=KEPT_ERRORS)
        self._characters = 0

    def add(self, lines: Sequence[Line]) -> None:
        """Keep more."""
        for line in lines[-KEPT_LINES:]:
            self.lines.append(line)
            self._characters += len(line.text)
        while len(self.lines) > KEPT_LINES or self._characters > KEPT_CHARACTERS:
            self._characters -= len(self.lines.popleft().text)
        for line in lines[-KEPT_ERRORS:]:
            if line.stream == STDERR:
                self.errors.append(attrs.evolve(line, text=line.text[:LONGEST_ERROR]))


class TenantLogs:
    """Takes all children's lines (`output.Output`). One for the service."""

    _log = Logger()

    def __init__(
        self, settings: Log, *, reactor: Any, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._wall_clock = wall_clock
        self._recent: dict[str, Recent] = {}
        self._followers: list[Callable[[str, Sequence[Line]], None]] = []
        self._writer: LogWriter | None = None
        self._complained_at: float | None = None

    # `output.Output`

    def lines(self, tenant: str, stream: str, lines: Sequence[str]) -> None:
        """See `Output.lines`."""
        entries = [f"{tenant} {stream}: {line}" for line in lines]
        if len(entries) > FLOOD:
            entries = ["\n".join(entries)]
        for entry in entries:
            self._log.info("{entry}", entry=entry, tenant=tenant, stream=stream)
        self._take(tenant, stream, lines)

    def dropped(self, tenant: str, stream: str, count: int) -> None:
        """See `Output.dropped`."""
        self._log.warn(
            "{tenant} {stream}: {count} lines dropped", tenant=tenant, stream=stream, count=count
        )
        self._take(tenant, OURS, [f"{count} lines of {stream} dropped"])

    def _take(self, tenant: str, stream: str, lines: Sequence[str]) -> None:
        at = self._wall_clock()
        taken = [Line(at, stream, text) for text in lines]
        self._recent.setdefault(tenant, Recent()).add(taken)
        if self._writer is not None:
            start = f"{_stamp(at)} {stream} "
            text = "".join([f"{start}{line}\n" for line in lines])
            self._writer.append(tenant, text.encode("utf-8", "backslashreplace"))
        for follower in tuple(self._followers):
            try:
                follower(tenant, taken)
            except Exception:
                self._log.failure("who follows the tenants' lines failed")

    # Asked by others

    def recent(self, tenant: str) -> list[Line]:
        """Return the tenant's last lines, oldest first."""
        recent = self._recent.get(tenant)
        return [] if recent is None else list(recent.lines)

    def errors(self, tenant: str) -> list[str]:
        """Return the tenant's last `KEPT_ERRORS` lines of standard error, oldest first."""
        recent = self._recent.get(tenant)
        return [] if recent is None else [line.text for line in recent.errors]

    def follow(self, told: Callable[[str, Sequence[Line]], None]) -> Callable[[], None]:
        """Call `told(tenant, lines)` with all lines from now on; return what ends that."""
        self._followers.append(told)

        def end() -> None:
            if told in self._followers:
                self._followers.remove(told)

        return end

    def forget_all_but(self, tenants: Container[str]) -> None:
        """Others are gone: their last lines are of no use. Their files stay."""
        for tenant in [name for name in self._recent if name not in tenants]:
            del self._recent[tenant]

    # The files

    def apply(self, settings: Log) -> None:
        """Go on with other files."""
        if settings != self._settings:
            self._close(0.0)
            self._settings = settings
            self.open()

    def reopen(self) -> None:
        """Open the files anew, such as after they were renamed."""
        if self._writer is not None:
            self._writer.reopen()

    def close(self) -> None:
        """Write what is left to be written, for `CLOSING_PATIENCE` seconds at most."""
        if not self._close(CLOSING_PATIENCE):
            self._log.warn("the tenants' log files were not written to their end")

    def open(self) -> None:
        """Write files from now on, if there are to be any."""
        settings = self._settings
        if settings.dir is None or self._writer is not None:
            return
        self._writer = LogWriter(
            LogFiles(settings.dir, settings.max_bytes, settings.keep, time.monotonic),
            lost_line=self._lost_line,
            failed=lambda why: self._reactor.callFromThread(self._complain, why),
        )

    def _close(self, patience: float) -> bool:
        writer, self._writer = self._writer, None
        return writer is None or writer.close(patience)

    def _lost_line(self, count: int) -> bytes:
        stamp = _stamp(self._wall_clock())
        return f"{stamp} {OURS} {count} lines could not be written here\n".encode()

    def _complain(self, why: str) -> None:
        now = self._reactor.seconds()
        if self._complained_at is None or now - self._complained_at >= COMPLAINT_INTERVAL:
            self._complained_at = now
            self._log.warn("tenants' log files: {why}; lines are lost there", why=why)


def _stamp(at: float) -> str:
    """Return Unix seconds as UTC to the millisecond."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
