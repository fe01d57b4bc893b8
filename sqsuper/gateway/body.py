"""A request's body on its way to the instance: its framing, its pace, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable

from sqsuper.gateway.limits import Limits
from sqsuper.gateway.spool import Spool, SpoolPieces
from sqsuper.gateway.wire import Wire
from sqsuper.http1.body import ChunkedBody, LengthBody
from sqsuper.http1.head import RequestHead
from sqsuper.http1.limits import BodyPace


class RequestBody:
    """The body of one request, which comes into `buffer` (of the client's connection).

    One of known length passes as it comes; a chunked one is spooled first, whole. Times are
    seconds of any one monotonic clock.

    `empty`: there is none. `read`: all of it was read from the client (true without a body).
    """

    __slots__ = ("_buffer", "_framing", "_pace", "_pieces", "_spool", "_timing", "empty", "read")

    def __init__(self, head: RequestHead, buffer: bytearray, timing: Limits) -> None:
        self.empty = self.read = not head.has_body
        self._buffer = buffer
        self._timing = timing
        self._framing: LengthBody | ChunkedBody = (
            ChunkedBody(timing.max_body_bytes, timing.max_head_bytes, head.connection_names)
            if head.chunked
            else LengthBody(head.content_length or 0)
        )
        self._pace: BodyPace | None = None
        self._spool: Spool | None = None
        self._pieces: SpoolPieces | None = None

    @property
    def spooled_length(self) -> int | None:
        """How long a body is whose chunks were undone; else None."""
        return None if self._spool is None else self._spool.length

    def passed(self) -> None:
        """Learn that all of it came, and was sent, before anything was asked here."""
        self._framing = LengthBody(0)
        self.read = True

    def must_be_spooled(self) -> bool:
        """Whether nothing may be sent of it yet."""
        return isinstance(self._framing, ChunkedBody) and not self._framing.done

    def begin(self, now: float) -> None:
        """Begin to read it: from now on it must keep its pace."""
        if self._framing.done:
            return
        self._pace = BodyPace(
            now,
            pause=self._timing.body_timeout,
            rate=self._timing.body_rate,
            grace=self._timing.head_timeout,
        )
        self._pace.received(now, len(self._buffer))

    def received(self, now: float, count: int) -> None:
        """Learn that `count` bytes came into the buffer."""
        if self._pace is not None:
            self._pace.received(now, count)

    def reading(self, now: float, reads: bool) -> None:
        """Learn whether the client is read: its clock stops while it is not."""
        if self._pace is not None:
            if reads:
                self._pace.go(now)
            else:
                self._pace.stop(now)

    def overdue(self, now: float) -> bool:
        """Whether it comes too slowly."""
        return self._pace is not None and not self._framing.done and self._pace.overdue(now)

    def is_cut(self) -> bool:
        """Whether it is certain to miss something, if nothing more comes into the buffer."""
        if self._framing.done:
            return False
        if isinstance(self._framing, LengthBody):
            return self._framing.remaining > len(self._buffer)
        # Of what was not looked at yet nothing is certain.
        return self._spool is not None or not self._buffer

    def spool(self, new_spool: Callable[[], Spool]) -> None:
        """Spool what came. Raises FramingError when it must be refused, SpoolError for no room."""
        if self._spool is None:
            self._spool = new_spool()
        content = self._framing.take(self._buffer)
        self.read = self._framing.done
        self._spool.write(content)

    def rewind(self) -> None:
        """Let `send` begin at the start, once what must be spooled is."""
        if self._spool is not None:
            self._pieces = self._spool.pieces()

    def send(self, wire: Wire) -> bool | None:
        """Send a piece; return whether `wire` takes more, or None when none is there for now."""
        if self._pieces is not None:
            return self._pieces.send(wire)
        content = self._framing.take(self._buffer)
        self.read = self._framing.done
        return wire.send(content) if content else None

    def close(self) -> None:
        """Forget what was spooled. Idempotent."""
        if self._spool is not None:
            self._spool.close()
