"""A tenant's lines on their way to whoever follows them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from sqsuper.admin.views import line_of
from sqsuper.supervisor.tenant_logs import Line

MAX_CHARACTERS = 1024 * 1024
# What a line costs beside its text: one may be empty.
LINE = 100


class Following:
    """Keeps what is not sent yet: `MAX_CHARACTERS` at most, then the oldest are dropped."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines: deque[Line] = deque()
        self._characters = 0
        self._dropped = 0
        self._more: Deferred[None] | None = None
        self.take(lines)

    def take(self, lines: Sequence[Line]) -> None:
        """Take further lines."""
        self._lines.extend(lines)
        self._characters += sum(LINE + len(line.text) for line in lines)
        while self._characters > MAX_CHARACTERS:
            self._characters -= LINE + len(self._lines.popleft().text)
            self._dropped += 1
        more, self._more = self._more, None
        if more is not None and not more.called:
            more.callback(None)

    def taken(self) -> list[dict[str, Any]]:
        """Return what is to be sent now, and keep it no more."""
        told = [line_of(line) for line in self._lines]
        if self._dropped:
            text = f"{self._dropped} lines dropped: they came faster than they were read"
            told.insert(
                0, {"at": told[0]["at"] if told else 0.0, "stream": "sqsuper", "text": text}
            )
        self._lines.clear()
        self._characters = self._dropped = 0
        return told

    def more(self) -> Deferred[None]:
        """Return what fires when there is more."""
        self._more = Deferred()
        return self._more
