"""One connection's requests and answers, in order, one at a time.

States and what leads from one to the next:

HEAD     waits for a request's head: whole -> BODY or answer; wrong or too slow -> LINGER
BODY     reads a body: whole -> answer; wrong or too slow -> LINGER
ANSWER   sends an answer that the client takes slowly, or lets others have a turn:
         done -> HEAD, or LINGER if the connection ends with it
LINGER   the last answer is out and the connection half closed; what comes is thrown away
         for 2 s or 8 MiB, so that a reset does not overtake the answer -> CLOSED
CLOSED   the end
"""

from __future__ import annotations

from sqsuper.engine.admission import admit, render_error
from sqsuper.engine.answer import Answer, failure
from sqsuper.engine.api import Request
from sqsuper.engine.errors import EngineError
from sqsuper.http1 import answers
from sqsuper.http1.body import ChunkedBody, LengthBody
from sqsuper.http1.errors import FramingError
from sqsuper.http1.limits import BodyPace
from sqsuper.http1.reader import RequestReader
from sqsuper.sockets import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from sqsuper.engine.service import Service
    from sqsuper.http1.head import RequestHead

HEAD, BODY, ANSWER, LINGER, CLOSED = range(5)

# Requests, or pieces of an answer, before other connections have their turn.
_TURN_REQUESTS = 8
_TURN_PIECES = 8
# Bodies up to this are sent together with their head.
_JOIN_BYTES = 65_536


class Exchange:
    """Owner of one client's connection; see the module."""

    __slots__ = (
        "_address",
        "_body",
        "_closing",
        "_connection",
        "_content",
        "_ended",
        "_head",
        "_later",
        "_left",
        "_lingered",
        "_number",
        "_pace",
        "_pieces",
        "_reader",
        "_served",
        "_service",
        "_since",
        "_state",
    )

    def __init__(
        self, service: Service, sock: socket.socket, number: int, address: str | None = None
    ) -> None:
        """Take over an accepted socket; `number` is the connection's, counted from 1.

        `address`: the client's, None for the gateway's Unix socket.
        """
        self._address = address
        limits = service.limits
        self._service = service
        self._number = number
        self._reader = RequestReader(limits.max_head_bytes, limits.max_body_bytes)
        self._state = HEAD
        self._since: float = service.loop.now
        self._served = False
        self._closing = False
        self._ended = False
        self._later = False
        self._left = 0
        self._lingered = 0
        self._head: RequestHead | None = None
        self._body: LengthBody | ChunkedBody | None = None
        self._content: list[bytes] = []
        self._pace: BodyPace | None = None
        self._pieces: Iterator[bytes] | None = None
        self._connection = Connection(service.loop, sock, self)

    @property
    def idle(self) -> bool:
        """Whether no byte of a request is here and no answer under way."""
        return self._state == HEAD and not self._reader.started

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._state == LINGER:
            self._lingered += len(data)
            if self._lingered > answers.LINGER_BYTES:
                self._connection.close()
            return
        if self._state == HEAD and not self._reader.started:
            self._since = self._service.loop.now
        if self._pace is not None:
            self._pace.received(self._service.loop.now, len(data))
        self._reader.buffer += data
        if self._state in (HEAD, BODY):
            self._advance()

    def ended(self) -> None:
        """Learn that the client sends no more: what is whole is still answered."""
        self._ended = True
        if self._state in (HEAD, BODY, LINGER):
            self._connection.close()

    def drained(self) -> None:
        """Go on with an answer, or with the next request."""
        if self._state == ANSWER:
            self._pump()

    def lost(self, _error: OSError | None) -> None:
        """Learn that the connection is gone."""
        self._state = CLOSED
        self._pieces = None
        self._content = []
        self._service.closed(self)

    def stop(self) -> None:
        """End the connection with the request that is under way, or now if none is."""
        self._closing = True
        if self.idle:
            self._connection.close()

    def abort(self) -> None:
        """End the connection at once."""
        self._connection.abort()

    def sweep(self, now: float) -> None:
        """End what lasts too long. To be called about once a second with the loop's time."""
        limits = self._service.limits
        if self._state == HEAD:
            if self._reader.started:
                if _over(now - self._since, limits.head_timeout):
                    self._refuse(FramingError(408, "timeout", "the head took too long"))
            elif _over(
                now - self._since, limits.idle_timeout if self._served else limits.head_timeout
            ):
                self._connection.close()
        elif self._state == BODY:
            if self._pace is not None and self._pace.overdue(now):
                self._refuse(FramingError(408, "timeout", "the body comes too slowly"))
        elif self._state == ANSWER:
            if self._connection.pending and _over(
                now - self._connection.progress, limits.send_timeout
            ):
                self._connection.abort()
        elif self._state == LINGER and now - self._since > answers.LINGER_SECONDS:
            if self._connection.pending:
                self._connection.abort()
            else:
                self._connection.close()

    def _advance(self) -> None:
        # As far as the bytes that are here lead; a batch of requests at most.
        try:
            for _ in range(_TURN_REQUESTS):
                if self._state == HEAD and not self._begin():
                    if self._ended:
                        self._connection.close()
                    return
                if self._state == BODY and not self._read_body():
                    if self._ended:
                        self._connection.close()
                    return
                if self._state != HEAD:
                    return
        except FramingError as error:
            self._refuse(error)
            return
        if self._reader.buffer:
            self._yield()

    def _yield(self) -> None:
        # Others first; nothing more is read meanwhile, so that the buffer stays small.
        if self._later:
            return
        self._later = True
        self._connection.pause()
        self._service.loop.after(0.0, self._resume)

    def _resume(self) -> None:
        self._later = False
        if self._state == CLOSED:
            return
        self._connection.resume()
        if self._state == ANSWER:
            self._pump()
        elif self._state in (HEAD, BODY):
            self._advance()

    def _begin(self) -> bool:
        """Take a head and answer, or begin its body. False: more bytes are needed."""
        head = self._reader.head()
        if head is None:
            return False
        self._head = head
        if head.method == b"OPTIONS":
            self._preflight(head)
        elif self._admits(head):
            self._expect_body(head)
        return True

    def _preflight(self, head: RequestHead) -> None:
        close = self._ends_with(head, unread=head.has_body)
        self._deliver(answers.preflight(answers.CLOSE if close else answers.KEEP_ALIVE), close)

    def _admits(self, head: RequestHead) -> bool:
        close = self._ends_with(head, unread=head.has_body)
        refusal = admit(
            self._service, head, self._address, answers.CLOSE if close else answers.KEEP_ALIVE
        )
        if refusal is None:
            return True
        self._deliver(refusal, close)
        return False

    def _expect_body(self, head: RequestHead) -> None:
        if not head.has_body:
            self._answer(head, b"")
            return
        limits = self._service.limits
        if head.chunked:
            self._body = ChunkedBody(
                limits.max_body_bytes, limits.max_head_bytes, head.connection_names
            )
        else:
            self._body = LengthBody(head.content_length or 0)
        if limits.body_timeout is not None:
            now = self._service.loop.now
            self._pace = BodyPace(
                now,
                pause=limits.body_timeout,
                rate=limits.body_rate,
                grace=limits.head_timeout or limits.body_timeout,
            )
            self._pace.received(now, len(self._reader.buffer))
        self._state = BODY
        if head.expects_continue:
            self._connection.send(answers.CONTINUE)

    def _read_body(self) -> bool:
        """Take what is here of a body and answer if it is whole. False: bytes are missing."""
        body, head = self._body, self._head
        if body is None or head is None:
            return True
        content = body.take(self._reader.buffer)
        if content:
            self._content.append(content)
        if not body.done:
            return False
        content = b"".join(self._content)
        self._content.clear()
        self._body = self._pace = None
        self._answer(head, content)
        return True

    def _answer(self, head: RequestHead, content: bytes) -> None:
        request = Request(head.method, head.target, content, self._number)
        try:
            answer = self._service.api.answer(request)
        except Exception as error:
            # A fault of ours: told to nobody but the log.
            self._service.report(error)
            answer = failure(EngineError("internal error"))
        close = self._ends_with(head, unread=False)
        connection = answers.CLOSE if close else answers.KEEP_ALIVE
        if answer.error is not None:
            self._deliver(render_error(answer.error, head, connection), close)
            return
        start = answers.head(
            answer.status,
            length=answer.length,
            content_type=answer.content_type,
            connection=connection,
        )
        self._deliver(start, close, None if head.method == b"HEAD" else answer)

    def _ends_with(self, head: RequestHead, *, unread: bool) -> bool:
        return unread or not head.keep_alive or self._closing or self._service.stopping

    def _deliver(self, start: bytes, close: bool, answer: Answer | None = None) -> None:
        """Send an answer: `start`, then what `answer` holds; then go on, or end."""
        connection = self._connection
        self._head = None
        self._served = True
        self._closing = close
        self._state = ANSWER
        if answer is None or not answer.length:
            connection.send(start)
        elif answer.pieces is not None:
            connection.send(start)
            self._pieces = answer.pieces
            self._left = answer.length
        elif answer.length <= _JOIN_BYTES:
            connection.send(start + answer.body)
        else:
            connection.send(start)
            connection.send(memoryview(answer.body))
        self._pump(first=True)

    def _pump(self, *, first: bool = False) -> None:
        # The kernel's room is the measure: a piece is made when the last one is gone.
        connection = self._connection
        sent = 0
        while self._pieces is not None and not connection.pending and not connection.closed:
            if sent == _TURN_PIECES:
                self._yield()
                return
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                if self._left:
                    # Less than was announced, as when a file shrank: no filling.
                    connection.abort()
                break
            self._left -= len(piece)
            if self._left < 0:
                connection.abort()
                break
            connection.send(piece)
            sent += 1
        if connection.closed or connection.pending or self._pieces is not None:
            return
        self._since = self._service.loop.now
        if self._closing:
            self._linger()
            return
        self._state = HEAD
        if not first:
            self._advance()

    def _refuse(self, error: FramingError) -> None:
        """Answer a message that must be refused, and take nothing more."""
        head = self._head
        method = self._reader.method() if head is None else head.method
        target = self._reader.target() if head is None else head.target
        self._content.clear()
        self._body = self._pace = None
        self._deliver(
            answers.error(
                error.status,
                error.code,
                error.reason,
                method=method,
                target=target,
                connection=answers.CLOSE,
                fields=error.fields,
            ),
            close=True,
        )

    def _linger(self) -> None:
        self._state = LINGER
        self._reader.buffer.clear()
        if self._ended:
            self._connection.close()
        else:
            self._connection.half_close()


def _over(elapsed: float, limit: float | None) -> bool:
    return limit is not None and elapsed > limit
