"""A child's output as lines fit for a log; no I/O.

Everything a child prints is taken for an attacker's text: lines are cut, control bytes
escaped, floods counted instead of kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

MAX_LINE = 8 * 1024
LINES_PER_SECOND = 1000
BYTES_PER_SECOND = 4 * 1024 * 1024

# C0, DEL, C1, and the separators and direction marks by which text can pose as other text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def printable(line: bytes) -> str:
    """Return `line` as text in which control and undecodable bytes read `\\x1b`."""
    return _CONTROL.sub(_escaped, line.decode("utf-8", "backslashreplace"))


class Output(Protocol):
    """Where the lines of all children go. `stream`: `stdout` or `stderr`."""

    def lines(self, tenant: str, stream: str, lines: Sequence[str]) -> None:
        """Take printable lines that were just printed."""

    def dropped(self, tenant: str, stream: str, count: int) -> None:
        """Take how many lines were too many."""


class Lines:
    """Bytes in, at most `LINES_PER_SECOND` printable lines a second out.

    `emit(lines)` gets those that one read completed; `dropped(count)` how many were not
    emitted, at the first bytes after the second in which they came, at `flush` and at the
    end. `clock()` is in seconds.
    """

    def __init__(
        self,
        emit: Callable[[list[str]], None],
        dropped: Callable[[int], None],
        clock: Callable[[], float],
    ) -> None:
        self._emit = emit
        self._dropped = dropped
        self._clock = clock
        self._partial = bytearray()
        self._window = clock()
        self._emitted = 0
        self._fed = 0
        self._lost = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they were read."""
        now = self._clock()
        if not 0.0 <= now - self._window < 1.0:
            self._report()
            self._window = now
            self._emitted = 0
            self._fed = 0
        self._fed += len(data)
        lines: list[str] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            if self._emitted >= LINES_PER_SECOND:
                self._lost += data.count(b"\n", start)
                self._partial.clear()
                start = data.rfind(b"\n") + 1
                break
            self._keep(data, start, end)
            lines.append(self._line())
            start = end + 1
        self._keep(data, start, len(data))
        if lines:
            self._emit(lines)

    def end(self) -> None:
        """Nothing follows: emit an unterminated last line and what was dropped."""
        if self._partial:
            if self._emitted < LINES_PER_SECOND:
                self._emit([self._line()])
            else:
                self._lost += 1
                self._partial.clear()
        self._report()

    @property
    def losing(self) -> bool:
        """Whether lines were dropped that `dropped` does not know of yet."""
        return self._lost > 0

    @property
    def excess(self) -> float:
        """For how many seconds nothing more should be read; 0 is the rule.

        What is over `LINES_PER_SECOND` costs little to drop, but past `BYTES_PER_SECOND`
        enough to be felt by others.
        """
        if self._fed <= BYTES_PER_SECOND:
            return 0.0
        return min(1.0, max(0.0, self._window + 1.0 - self._clock()))

    def flush(self) -> None:
        """Tell `dropped` what was lost so far, when no more output may come to do so."""
        self._report()

    def _keep(self, data: bytes, start: int, end: int) -> None:
        room = MAX_LINE - len(self._partial)
        if room > 0:
            self._partial += data[start : min(end, start + room)]

    def _line(self) -> str:
        line = bytes(self._partial)
        self._partial.clear()
        self._emitted += 1
        return printable(line)

    def _report(self) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            self._dropped(lost)
