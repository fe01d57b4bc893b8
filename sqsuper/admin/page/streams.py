"""Server-sent events: who may have a stream, how many, and what is sent on it.

Nothing is kept for a client that does not read: once it does it is told what is so then. One
that is `MAX_BEHIND` bytes behind, or takes nothing for `MAX_STUCK` seconds, is cut; its browser
comes again by itself, and begins anew.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import attrs

from sqsuper.admin.control import Control
from sqsuper.admin.errors import AdminError
from sqsuper.admin.guard import Guard, Who
from sqsuper.admin.page.board import Board
from sqsuper.admin.page.live import Live
from sqsuper.admin.page.tale import Tale
from sqsuper.admin.routing import Answer, Call
from sqsuper.slices import Slices

EVENT_STREAM = "text/event-stream"
MAX_STREAMS = 32
"""Of one session; and of all who come with the token, together."""
MAX_BEHIND = 1024 * 1024
MAX_STUCK = 60
HEARTBEAT = 15.0
# What a browser waits before it comes again, in milliseconds.
RETRY = b"retry: 2000\n\n"
BEAT = b": still here\n\n"


class TooManyStreamsError(AdminError):
    """This session has as many streams as one may."""

    status, code = 429, "too_many_streams"


def sent(event: str, data: bytes) -> bytes:
    """Return an event; `data` is one line."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), data)


@attrs.define(eq=False)
class Reader:
    """One stream. `round`: what it was told; `behind`: bytes it was not told since.

    `stuck`: for how many seconds in a row it has taken nothing though there was something.
    """

    who: Who
    round: int = 0
    behind: int = 0
    stuck: int = 0

    def keeps_up(self) -> bool:
        """Whether it reads fast enough; to be asked every second while it takes nothing."""
        self.stuck += 1
        return self.behind <= MAX_BEHIND and self.stuck <= MAX_STUCK

    def took(self) -> None:
        """It has taken what was sent."""
        self.behind = self.stuck = 0


class Streams:
    """All streams that are open."""

    def __init__(self, guard: Guard, reactor: Any) -> None:
        self._guard = guard
        self._reactor = reactor
        self._slices = Slices(reactor)
        self._readers: list[Reader] = []

    def __len__(self) -> int:
        return len(self._readers)

    def answer(self, call: Call, told: Callable[[Reader], AsyncGenerator[bytes, None]]) -> Answer:
        """Return an answer that streams what `told` gives. Raises TooManyStreamsError."""
        if call.asked.method == "HEAD":
            return Answer(200, content_type=EVENT_STREAM)
        session = call.who.session
        if sum(reader.who.session is session for reader in self._readers) >= MAX_STREAMS:
            raise TooManyStreamsError(
                f"there are {MAX_STREAMS} streams of this session: close a page"
            )
        reader = Reader(call.who)
        return Answer(
            200,
            content_type=EVENT_STREAM,
            headers={"X-Accel-Buffering": "no"},
            stream=self._listed(reader, told(reader)),
            lasts=lambda: self.may(reader) and reader.keeps_up(),
        )

    async def _listed(
        self, reader: Reader, told: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        self._readers.append(reader)
        try:
            yield RETRY
            async for piece in told:
                yield piece
                reader.took()
        finally:
            self._readers.remove(reader)
            await told.aclose()

    def may(self, reader: Reader) -> bool:
        """Whether who asked for it may still have it."""
        return self._guard.still(reader.who)

    def count_behind(self, board: Board) -> None:
        """A round is over, and who could be told of it was told: count what the others miss."""
        for reader in self._readers:
            if 0 < reader.round < board.round:
                reader.behind += len(board.since(board.round - 1) or b"")

    async def of_all(self, live: Live, reader: Reader) -> AsyncGenerator[bytes, None]:
        """Give all tenants' rows, and then what changes of them."""
        board = live.board
        quiet_since = self._reactor.seconds()
        while self.may(reader):
            message = board.since(reader.round) if reader.round else None
            if message is None:
                await live.fresh()
                reader.round, pieces = await self._slices.run(board.whole())
                yield b"event: rows\ndata: "
                for piece in pieces:
                    yield piece
                yield b"\n\n"
                quiet_since = self._reactor.seconds()
                continue
            reader.round = board.round
            if message:
                yield sent("rows", message)
                quiet_since = self._reactor.seconds()
            elif self._reactor.seconds() >= quiet_since + HEARTBEAT:
                yield BEAT
                quiet_since = self._reactor.seconds()
            await live.tick()

    async def of_one(
        self, live: Live, reader: Reader, control: Control, name: str
    ) -> AsyncGenerator[bytes, None]:
        """Give all of one tenant (see `Tale`), and then what is new of it; ends with it."""
        await live.fresh()
        told = Tale(control, live.board, name)
        quiet_since = self._reactor.seconds()
        try:
            while self.may(reader):
                message = told.more()
                if message is None:
                    yield sent("gone", b"{}")
                    return
                reader.round = live.board.round
                if message:
                    yield sent("tenant", message)
                    quiet_since = self._reactor.seconds()
                elif self._reactor.seconds() >= quiet_since + HEARTBEAT:
                    yield BEAT
                    quiet_since = self._reactor.seconds()
                await live.tick()
        finally:
            told.close()
