"""An instance's answer on its way to the client: its bytes in, the client's bytes out."""

from __future__ import annotations

from collections.abc import Callable

from sqsuper.gateway import rewrite
from sqsuper.gateway.memo import KnownAnswers
from sqsuper.http1.body import (
    LAST_CHUNK,
    ChunkedBody,
    EndlessBody,
    LengthBody,
    encode_chunk,
)
from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import RequestHead, ResponseHead
from sqsuper.http1.reader import ResponseReader

# Of an answer's head, and of its trailers: not the clients' limit, which users may lower.
MAX_HEAD_BYTES = 65_536
MAX_INTERIM = 10

_NOTHING = LengthBody(0)


class AnswerStream:
    """The answer to one request; no I/O.

    `done`: the whole answer was given to the client. `keep_client`: the client was told that
    its connection goes on (decided with the head). `known`: answers' heads seen before.
    """

    __slots__ = (
        "_content",
        "_head",
        "_interim",
        "_known",
        "_reader",
        "_rechunk",
        "_request",
        "_request_id",
        "done",
        "keep_client",
    )

    def __init__(
        self, request: RequestHead, request_id: bytes, known: KnownAnswers | None = None
    ) -> None:
        self.done = False
        self.keep_client = False
        self._request = request
        self._request_id = request_id
        self._known = KnownAnswers() if known is None else known
        # Made for an answer that does not come whole, in one piece and with a known head.
        self._reader: ResponseReader | None = None
        self._head: ResponseHead | None = None
        self._interim = 0
        self._content: LengthBody | ChunkedBody | EndlessBody = _NOTHING
        self._rechunk = False

    @property
    def status(self) -> int:
        """Return the answer's status, 0 before its head was whole."""
        return 0 if self._head is None else self._head.status

    @property
    def reusable(self) -> bool:
        """Whether the instance's side allows its connection another request."""
        return (
            self.done
            and self._head is not None
            and self._head.keep_alive
            and (self._reader is None or not self._reader.buffer)
            and not isinstance(self._content, EndlessBody)
        )

    def received(self, data: bytes, may_keep: Callable[[], bool]) -> bytes:
        """Take bytes of the instance; return what the client gets now, perhaps nothing.

        `may_keep` is asked once, at the head: may the client's connection go on?
        Raises FramingError (502) when the answer must not be passed on (any further).
        """
        reader = self._reader
        out = raw = b""
        if reader is None:
            end = data.find(b"\r\n\r\n") + 4
            raw = data[:end]
            known = self._known.find(raw)
            if known is not None:
                out = self._begin(known.head, known.lines, may_keep())
                data = data[end:]
                if len(data) == known.head.content_length and self._content is not _NOTHING:
                    self.done = True
                    return out + data
            self._reader = reader = ResponseReader(MAX_HEAD_BYTES)
        if self._head is not None and not reader.buffer and self._is_of_body(data):
            # A large body is not copied on its way.
            return out + data
        reader.buffer += data
        if self._head is None:
            head = self._final_head(reader)
            if head is None:
                return out
            lines = rewrite.client_lines(head)
            if raw.endswith(b"\r\n\r\n") and not self._interim:
                self._known.keep(raw, head, lines)
            out = self._begin(head, lines, may_keep())
        content = self._content.take(reader.buffer)
        if content:
            out += encode_chunk(content) if self._rechunk else content
        return out + self._end() if self._content.done else out

    def ended(self) -> bytes:
        """Learn that the instance sends no more; return what the client gets yet.

        Raises FramingError (502) when the answer is not whole.
        """
        if not isinstance(self._content, EndlessBody):
            raise _bad("the instance closed the connection before its answer was whole")
        self._content.done = True
        return self._end()

    def _is_of_body(self, data: bytes) -> bool:
        content = self._content
        if not isinstance(content, LengthBody) or len(data) > content.remaining:
            return False
        content.remaining -= len(data)
        self.done = content.done
        return True

    def _final_head(self, reader: ResponseReader) -> ResponseHead | None:
        while (head := reader.head()) is not None:
            if head.status >= 200:
                if head.status == 401:
                    # The client was authenticated here: this is about our own key.
                    raise _bad("the instance did not accept its key")
                return head
            self._interim += 1
            if head.status == 101 or self._interim > MAX_INTERIM:
                raise _bad("an upgrade that nobody asked for, or too many interim answers")
        return None

    def _begin(self, head: ResponseHead, lines: bytes, may_keep: bool) -> bytes:
        self._head = head
        request = self._request
        if request.method == b"HEAD" or head.status in (204, 304):
            self._content = _NOTHING
        elif head.chunked:
            self._content = ChunkedBody(None, MAX_HEAD_BYTES)
        elif head.content_length is not None:
            self._content = LengthBody(head.content_length)
        else:
            self._content = EndlessBody()
        length_known = isinstance(self._content, LengthBody)
        self._rechunk = not length_known and request.minor == 1
        self.keep_client = may_keep and request.keep_alive and (length_known or self._rechunk)
        return rewrite.client_head(
            lines,
            request_id=self._request_id,
            connection=rewrite.connection_line(self.keep_client, request.minor),
            chunked=self._rechunk,
        )

    def _end(self) -> bytes:
        self.done = True
        return LAST_CHUNK if self._rechunk else b""


def _bad(reason: str) -> FramingError:
    return FramingError(502, "bad_answer", reason)
