"""One connection's requests and answers, in order, one at a time.

States and what leads from one to the next:

HEAD     waits for a request's head: whole -> BODY or answer; wrong or too slow -> LINGER
BODY     reads a body: whole -> WORK or answer; wrong or too slow -> LINGER
WORK     the answer is being made, piece by piece, or waits until what it shows is durable:
         done -> answer
ANSWER   sends an answer that the client takes slowly, or lets others have a turn:
         done -> HEAD, or LINGER if the connection ends with it
LINGER   the last answer is out and the connection half closed; what comes is thrown away
         for 2 s or 8 MiB, so that a reset does not overtake the answer -> CLOSED
CLOSED   the end
"""

from __future__ import annotations

from sqsuper.engine.admission import admit, render_error
from sqsuper.engine.making import Making
from sqsuper.engine.receiving import Receiving
from sqsuper.engine.sending import Sending, whole
from sqsuper.http1 import answers
from sqsuper.http1.errors import FramingError
from sqsuper.http1.reader import RequestReader
from sqsuper.sockets import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from sqsuper.engine.answer import Answer
    from sqsuper.engine.service import Service
    from sqsuper.http1.head import RequestHead

HEAD, BODY, WORK, ANSWER, LINGER, CLOSED = range(6)

# Requests before other connections have their turn.
_TURN_REQUESTS = 8
# Bodies up to this are sent together with their head.
_JOIN_BYTES = 65_536
# More than this unread behind a request that waits is left to the kernel.
_BEHIND_BYTES = 65_536


class Exchange:
    """Owner of one client's connection; see the module."""

    __slots__ = (
        "_advancing",
        "_closing",
        "_connection",
        "_ended",
        "_head",
        "_later",
        "_lingered",
        "_making",
        "_reader",
        "_receiving",
        "_sending",
        "_served",
        "_service",
        "_since",
        "_state",
        "address",
    )

    def __init__(
        self, service: Service, sock: socket.socket, number: int, address: str | None = None
    ) -> None:
        """Take over an accepted socket; `number` is the connection's, counted from 1.

        `address`: the client's, None for the gateway's Unix socket.
        """
        self.address = address
        limits = service.limits
        self._service = service
        self._reader = RequestReader(
            limits.max_head_bytes,
            limits.max_body_bytes,
            service.known,
            limits.max_field_lines,
        )
        self._state = HEAD
        self._since: float = service.loop.now
        self._served = False
        self._closing = False
        self._ended = False
        self._later = False
        self._advancing = False
        self._lingered = 0
        self._head: RequestHead | None = None
        self._receiving: Receiving | None = None
        self._making = Making(service, number, self._give)
        self._sending: Sending | None = None
        self._connection = Connection(service.loop, sock, self)

    @property
    def idle(self) -> bool:
        """Whether no byte of a request is here and no answer under way."""
        return self._state == HEAD and not self._reader.started

    @property
    def working(self) -> bool:
        """Whether a request is under way whose head was taken."""
        return self._state in (BODY, WORK, ANSWER)

    def relimit(self) -> None:
        """Hold the next heads to the service's limits of now; times are looked up anyway."""
        limits = self._service.limits
        self._reader.limit(limits.max_head_bytes, limits.max_body_bytes)

    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._service.bytes += len(data)
        if self._state == LINGER:
            self._lingered += len(data)
            if self._lingered > answers.LINGER_BYTES:
                self._connection.close()
            return
        if self._state == HEAD and not self._reader.started:
            service = self._service
            self._since = service.loop.now
            if not self._closing and not service.stopping:
                known = service.repeats.answer(data)
                if known is not None:
                    self._served = True
                    service.requests += 1
                    service.bytes += len(known)
                    self._connection.send(known)
                    if self._connection.pending:
                        self._state = ANSWER
                    return
        if self._receiving is not None:
            self._receiving.received(self._service.loop.now, len(data))
        self._reader.buffer += data
        if self._state in (HEAD, BODY):
            self._advance()
        elif len(self._reader.buffer) > _BEHIND_BYTES:
            self._connection.pause()

    def ended(self) -> None:
        """Learn that the client sends no more: what is whole is still answered."""
        self._ended = True
        if self._state in (HEAD, BODY, LINGER):
            self._connection.close()

    def drained(self) -> None:
        """Go on with an answer, or with the next request."""
        if self._state != ANSWER:
            return
        if self._sending is not None and not self._sending.over:
            self._sending.drained()
        else:
            self._next()

    def lost(self, _error: OSError | None) -> None:
        """Learn that the connection is gone."""
        self._state = CLOSED
        self._receiving = None
        self._making.drop()
        if self._sending is not None:
            self._sending.drop()
        self._service.closed(self)

    def stop(self) -> None:
        """End the connection with the request that is under way, or now if none is.

        One whose head is not whole yet is none.
        """
        self._closing = True
        if self._state == HEAD:
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
            if self._receiving is not None and self._receiving.overdue(now):
                self._refuse(FramingError(408, "timeout", "the body comes too slowly"))
        elif self._state == ANSWER:
            if self._connection.blocked and _over(
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
        self._advancing = True
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
                if self._state != HEAD or (not self._reader.buffer and not self._ended):
                    return
        except FramingError as error:
            self._refuse(error)
            return
        finally:
            self._advancing = False
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
        if self._state in (HEAD, BODY):
            self._connection.resume()
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
            self._service, head, self.address, answers.CLOSE if close else answers.KEEP_ALIVE
        )
        if refusal is None:
            return True
        self._deliver(refusal, close)
        return False

    def _expect_body(self, head: RequestHead) -> None:
        if not head.has_body:
            self._answer(head, [])
            return
        service = self._service
        self._receiving = Receiving(
            head, service.limits, service.loop.now, len(self._reader.buffer)
        )
        self._state = BODY
        if head.expects_continue:
            self._connection.send(answers.CONTINUE)

    def _read_body(self) -> bool:
        """Take what is here of a body and answer if it is whole. False: bytes are missing."""
        receiving, head = self._receiving, self._head
        if receiving is None or head is None:
            return True
        if not receiving.take(self._reader.buffer):
            return False
        self._receiving = None
        self._answer(head, receiving.pieces)
        return True

    def _answer(self, head: RequestHead, pieces: list[bytes]) -> None:
        self._state = WORK
        self._making.begin(head, pieces)

    def _give(self, answer: Answer) -> None:
        head = self._head
        assert head is not None
        close = self._ends_with(head, unread=False)
        connection = answers.CLOSE if close else answers.KEEP_ALIVE
        if answer.error is not None:
            self._deliver(render_error(answer.error, head, connection), close)
            return
        if not close:
            self._service.repeats.keep(head, answer)
        start = answer.head(connection)
        self._deliver(start, close, None if head.method == b"HEAD" else answer)

    def _ends_with(self, head: RequestHead, *, unread: bool) -> bool:
        return unread or not head.keep_alive or self._closing or self._service.stopping

    def _deliver(self, start: bytes, close: bool, answer: Answer | None = None) -> None:
        """Send an answer: `start`, then what `answer` holds; then go on, or end."""
        connection = self._connection
        service = self._service
        service.requests += 1
        service.bytes += len(start)
        self._head = None
        self._served = True
        self._closing = close
        self._state = ANSWER
        if answer is None or not answer.length:
            connection.send(start)
        elif answer.file is not None or answer.pieces is not None:
            if answer.length > _JOIN_BYTES:
                connection.send(start)
                self._sending = Sending(service, connection, answer, self._next)
            else:
                body = whole(answer)
                service.bytes += len(body)
                connection.send(start + body)
                if len(body) != answer.length:
                    connection.abort()
        elif answer.length <= _JOIN_BYTES:
            service.bytes += answer.length
            connection.send(start + answer.body)
        else:
            service.bytes += answer.length
            connection.send(start)
            connection.send(memoryview(answer.body))
        if self._advancing:
            self._flow()
        else:
            self._next()

    def _flow(self) -> None:
        """Go on with an answer as the kernel takes it; at its end, with the next request."""
        connection = self._connection
        if connection.closed or connection.pending:
            return
        if self._sending is not None:
            if not self._sending.over:
                self._sending.go_on()
                return
            self._sending = None
        self._since = self._service.loop.now
        if self._closing:
            self._linger()
            return
        self._state = HEAD

    def _next(self) -> None:
        self._flow()
        if self._state == HEAD:
            if self._reader.buffer:
                self._yield()
            elif self._ended:
                self._connection.close()

    def _refuse(self, error: FramingError) -> None:
        """Answer a message that must be refused, and take nothing more."""
        head = self._head
        method = self._reader.method() if head is None else head.method
        target = self._reader.target() if head is None else head.target
        self._receiving = None
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
        self._connection.resume()
        if self._ended:
            self._connection.close()
        else:
            self._connection.half_close()


def _over(elapsed: float, limit: float | None) -> bool:
    return limit is not None and elapsed > limit
