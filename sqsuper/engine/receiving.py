"""One request's body: which bytes are its content, and whether they come fast enough."""

from __future__ import annotations

from sqsuper.http1.body import ChunkedBody, LengthBody
from sqsuper.http1.limits import BodyPace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.service import Limits
    from sqsuper.http1.head import RequestHead


class Receiving:
    """A body that begins. `pieces`: the content that came so far.

    `head`: its request's. `now`: the loop's time; `waiting`: how many bytes are here already.
    """

    __slots__ = ("_body", "_pace", "pieces")

    def __init__(self, head: RequestHead, limits: Limits, now: float, waiting: int) -> None:
        self._body: LengthBody | ChunkedBody
        if head.chunked:
            self._body = ChunkedBody(
                limits.max_body_bytes, limits.max_head_bytes, head.connection_names
            )
        else:
            self._body = LengthBody(head.content_length or 0)
        self._pace: BodyPace | None = None
        self.pieces: list[bytes] = []
        if limits.body_timeout is not None:
            self._pace = BodyPace(
                now,
                pause=limits.body_timeout,
                rate=limits.body_rate,
                grace=limits.head_timeout or limits.body_timeout,
            )
            self._pace.received(now, waiting)

    def received(self, now: float, count: int) -> None:
        """Note that bytes came."""
        if self._pace is not None:
            self._pace.received(now, count)

    def overdue(self, now: float) -> bool:
        """Whether the bytes come too slowly."""
        return self._pace is not None and self._pace.overdue(now)

    def take(self, buffer: bytearray) -> bool:
        """Take what is here off `buffer`; return whether the body is whole.

        Raises FramingError.
        """
        content = self._body.take(buffer)
        if content:
            self.pieces.append(content)
        return self._body.done
