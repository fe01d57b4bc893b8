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

import os

from sqsuper.engine.admission import admit, render_error
from sqsuper.engine.answer import Answer, failure
from sqsuper.engine.api import Request
from sqsuper.engine.errors import EngineError, write_error
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

    from sqsuper.engine.directory import OpenFile
    from sqsuper.engine.service import Service
    from sqsuper.engine.turns import Job
    from sqsuper.http1.head import RequestHead

HEAD, BODY, WORK, ANSWER, LINGER, CLOSED = range(6)

# Requests before other connections have their turn.
_TURN_REQUESTS = 8
# Pieces of work that are done at once: most documents need no more.
_FIRST_PIECES = 4
# Bodies up to this are sent together with their head.
_JOIN_BYTES = 65_536
# More than this unread behind a request that waits is left to the kernel.
_BEHIND_BYTES = 65_536
# Of a file, at a time.
_FILE_BYTES = 1 << 20
_SENDFILE = hasattr(os, "sendfile")


class Exchange:
    """Owner of one client's connection; see the module."""

    __slots__ = (
        "_advancing",
        "_body",
        "_closing",
        "_connection",
        "_content",
        "_ended",
        "_file",
        "_head",
        "_job",
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
        "_streaming",
        "_waiting",
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
        self._number = number
        self._reader = RequestReader(
            limits.max_head_bytes,
            limits.max_body_bytes,
            service.known.heads,
            limits.max_field_lines,
        )
        self._state = HEAD
        self._since: float = service.loop.now
        self._served = False
        self._closing = False
        self._ended = False
        self._later = False
        self._advancing = False
        self._left = 0
        self._lingered = 0
        self._head: RequestHead | None = None
        self._body: LengthBody | ChunkedBody | None = None
        self._content: list[bytes] = []
        self._pace: BodyPace | None = None
        self._pieces: Iterator[bytes] | None = None
        self._file: OpenFile | None = None
        self._job: Job[Answer] | None = None
        # The answer that waits until it is durable
        self._waiting: Answer | None = None
        self._streaming = False
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
        if (self._pieces is not None or self._file is not None) and not self._streaming:
            # There is room now: the first piece waits for nobody.
            self._streaming = True
            if self._stream():
                self._service.turns.add(self._stream)
            return
        self._next()

    def lost(self, _error: OSError | None) -> None:
        """Learn that the connection is gone."""
        self._state = CLOSED
        self._pieces = self._file = self._waiting = None
        self._content = []
        job, self._job = self._job, None
        if job is not None:
            job.close()
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
            if self._pace is not None and self._pace.overdue(now):
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
        request = Request(head.method, head.target, content, self._number, head.fields)
        self._state = WORK
        try:
            answer = self._service.api.answer(request)
        except Exception as error:
            answer = self._fault(error)
        if isinstance(answer, Answer):
            self._made(answer)
            return
        self._job = answer
        for _ in range(_FIRST_PIECES):
            if not self._work():
                return
        self._service.turns.add(self._work)

    def _fault(self, error: Exception) -> Answer:
        # A fault of ours: told to nobody but the log.
        self._service.report(error)
        return failure(EngineError("internal error"))

    def _work(self) -> bool:
        """Do a piece of the answer. False: it is made, or waits for something."""
        job = self._job
        if job is None:
            return False
        try:
            gate = next(job)
        except StopIteration as end:
            answer: Answer = end.value
        except Exception as error:
            answer = self._fault(error)
        else:
            if gate is None:
                return True
            gate.wait(self._go_on)
            return False
        self._job = None
        self._made(answer)
        return False

    def _go_on(self) -> None:
        if self._job is not None:
            self._service.turns.add(self._work)

    def _made(self, answer: Answer) -> None:
        """Give an answer once all that it shows is durable."""
        if answer.after:
            self._waiting = answer
            self._service.commits.wait(answer.after, self._durable)
        else:
            self._give(answer)

    def _durable(self, error: BaseException | None) -> None:
        answer, self._waiting = self._waiting, None
        if answer is None:
            return
        self._give(answer if error is None else failure(write_error(answer.name, error)))

    def _give(self, answer: Answer) -> None:
        head = self._head
        assert head is not None
        close = self._ends_with(head, unread=False)
        connection = answers.CLOSE if close else answers.KEEP_ALIVE
        if answer.error is not None:
            self._deliver(render_error(answer.error, head, connection), close)
            return
        start = answer.head(connection)
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
        elif answer.file is not None or answer.pieces is not None:
            self._left = answer.length
            if answer.length > _JOIN_BYTES:
                connection.send(start)
                self._file, self._pieces = answer.file, answer.pieces
            else:
                body = _whole(answer)
                self._left -= len(body)
                connection.send(start + body)
                if self._left:
                    connection.abort()
        elif answer.length <= _JOIN_BYTES:
            connection.send(start + answer.body)
        else:
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
        if self._pieces is not None or self._file is not None:
            if not self._streaming:
                self._streaming = True
                self._service.turns.add(self._stream)
            return
        self._since = self._service.loop.now
        if self._closing:
            self._linger()
            return
        self._state = HEAD

    def _stream(self) -> bool:
        """Send a piece. False: the kernel is full, or there are no more."""
        connection = self._connection
        if connection.closed:
            self._streaming = False
            return False
        sent = self._send_file() if self._file is not None else self._send_piece()
        if connection.closed:
            self._streaming = False
            return False
        if sent is None:
            # Told by `drained`
            self._streaming = False
            return False
        self._left -= sent
        if self._left < 0 or (not sent and self._left):
            # Less than was announced, as when a file shrank, or more: no filling, no cutting.
            connection.abort()
        elif self._left:
            if not connection.pending:
                return True
        else:
            # Dropped now: they hold a version of the document, or a descriptor.
            self._pieces = self._file = None
        self._streaming = False
        if not connection.closed:
            self._next()
        return False

    def _send_piece(self) -> int:
        piece = b"" if self._pieces is None else next(self._pieces, b"")
        if piece and len(piece) <= self._left:
            self._connection.send(piece)
        return len(piece)

    def _send_file(self) -> int | None:
        file = self._file
        assert file is not None
        try:
            if not _SENDFILE:
                piece = file.read()[: self._left]
                self._connection.send(piece)
                return len(piece)
            count = min(self._left, _FILE_BYTES)
            sent = self._connection.send_file(file.fd, file.position, count)
        except OSError:
            return 0
        file.position += sent or 0
        return sent

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
        self._connection.resume()
        if self._ended:
            self._connection.close()
        else:
            self._connection.half_close()


def _whole(answer: Answer) -> bytes:
    if answer.file is None:
        return b"" if answer.pieces is None else b"".join(answer.pieces)
    try:
        return answer.file.read_all()
    except OSError:
        return b""


def _over(elapsed: float, limit: float | None) -> bool:
    return limit is not None and elapsed > limit
