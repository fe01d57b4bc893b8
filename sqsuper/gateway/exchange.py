"""One request and its answer: from the checked head to the last byte of the answer.

States and what may follow them stand in `NEXT`. Rules:

* Nothing is sent to the instance before a slot is taken, and nothing of a chunked body before
  it was read to its end.
* A request of which a byte was sent is never sent again: SQ's GETs change data.
* Once a byte of the answer has gone to the client, an error can only cut the connection.
* An upstream connection is kept only if request and answer were whole, nothing is left over,
  and the answer announced keep-alive.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from sqsuper.gateway import rewrite
from sqsuper.gateway.limits import Limits
from sqsuper.gateway.spool import Spool, SpoolError, SpoolPieces
from sqsuper.gateway.upstream import Pool, UpstreamConnection
from sqsuper.http1 import answers
from sqsuper.http1.body import (
    LAST_CHUNK,
    ChunkedBody,
    EndlessBody,
    LengthBody,
    encode_chunk,
)
from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import NOT_HOP_BY_HOP, RequestHead, ResponseHead
from sqsuper.http1.limits import BodyPace
from sqsuper.http1.reader import ResponseReader
from sqsuper.instances import Unavailable, Upstream

MAX_INTERIM = 10
RETRY_DELAYS = (0.025, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)


class State(Enum):
    QUEUED = auto()  # for a slot, or for the instance to start
    SPOOLING = auto()  # the chunked body is read to its end
    CONNECTING = auto()
    SENDING = auto()  # head and body
    AWAITING = auto()  # all was sent; no whole head of the answer yet
    RELAYING = auto()  # the answer's body
    DONE = auto()


NEXT: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.SPOOLING, State.CONNECTING, State.DONE}),
    State.SPOOLING: frozenset({State.CONNECTING, State.DONE}),
    State.CONNECTING: frozenset({State.QUEUED, State.SENDING, State.DONE}),
    State.SENDING: frozenset({State.AWAITING, State.RELAYING, State.DONE}),
    State.AWAITING: frozenset({State.RELAYING, State.DONE}),
    State.RELAYING: frozenset({State.DONE}),
    State.DONE: frozenset(),
}


class Client(Protocol):
    """What an exchange needs of the connection that it serves."""

    @property
    def buffer(self) -> bytearray: ...
    @property
    def timing(self) -> Limits: ...
    def send(self, data: bytes) -> bool: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...
    def fail(self, exchange: Exchange, failure: Failure) -> None:
        """Answer with an error; the exchange is over and nothing was answered yet."""

    def refuse(self, exchange: Exchange, error: FramingError) -> None:
        """Refuse what is left of the request; the exchange is over."""

    def finished(self, keep: bool) -> None:
        """Go on after a whole answer; `keep`: with the next request."""

    def later(self, delay: float, call: Callable[[], None]) -> Callable[[], None]: ...
    def seconds(self) -> float: ...
    def closing(self) -> bool: ...
    def new_spool(self) -> Spool: ...


class Failure:
    """Why an exchange ends without an instance's answer: an answer of 502, 503 or 504."""

    __slots__ = ("code", "executed_unknown", "reason", "retry_after", "status")

    def __init__(
        self,
        status: int,
        code: str,
        reason: str,
        *,
        executed_unknown: bool = False,
        retry_after: int | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.reason = reason
        self.executed_unknown = executed_unknown
        self.retry_after = retry_after


class Exchange:
    """See the module's text. One object a request; it is an `Asker` and an `UpstreamUser`."""

    __slots__ = (
        "_answer",
        "_body",
        "_cancel_pending",
        "_client",
        "_client_ended",
        "_connection",
        "_content",
        "_continued",
        "_deadline",
        "_interim",
        "_keep_client",
        "_pace",
        "_pieces",
        "_pool",
        "_reader",
        "_rechunk",
        "_retries",
        "_slot",
        "_spool",
        "_upstream",
        "answer_begun",
        "head",
        "request_id",
        "state",
    )

    def __init__(self, client: Client, head: RequestHead, pool: Pool, request_id: bytes) -> None:
        self.head = head
        self.request_id = request_id
        self.state = State.QUEUED
        self.answer_begun = False
        self._client = client
        self._pool = pool
        self._slot = False
        self._upstream: Upstream | None = None
        self._connection: UpstreamConnection | None = None
        self._cancel_pending: Callable[[], None] | None = None
        self._retries = iter(RETRY_DELAYS)
        self._spool: Spool | None = None
        self._pieces: SpoolPieces | None = None
        self._pace: BodyPace | None = None
        self._continued = False
        self._client_ended = False
        self._deadline: float | None = None
        self._reader = ResponseReader(client.timing.max_head_bytes)
        self._interim = 0
        self._answer: ResponseHead | None = None
        self._content: LengthBody | ChunkedBody | EndlessBody = LengthBody(0)
        self._rechunk = False
        self._keep_client = True
        self._body: LengthBody | ChunkedBody = (
            ChunkedBody(
                client.timing.max_body_bytes,
                client.timing.max_head_bytes,
                head.connection_names,
            )
            if head.chunked
            else LengthBody(head.content_length or 0)
        )

    @property
    def body_read(self) -> bool:
        """Whether the request's body was read to its end (true without a body)."""
        return self._body.done

    def start(self) -> None:
        """Ask for a slot."""
        self._pool.enter(self)

    # Asker

    def granted(self, upstream: Upstream) -> None:
        self._slot = True
        self._upstream = upstream
        if self._spool is not None or not self.head.has_body:
            # A retry, or nothing to read first.
            self._connect()
            return
        if self.head.expects_continue and not self._continued:
            self._continued = True
            self._client.send(answers.CONTINUE)
        timing = self._client.timing
        self._pace = BodyPace(
            self._client.seconds(),
            pause=timing.body_timeout,
            rate=timing.body_rate,
            grace=timing.head_timeout,
        )
        if self.head.chunked:
            self._to(State.SPOOLING)
            self._spool = self._client.new_spool()
            self._client.resume()
            self.body_received(len(self._client.buffer))
        else:
            self._connect()

    def turned_away(self, reason: Unavailable) -> None:
        self._fail(Failure(503, reason.code, reason.reason, retry_after=reason.retry_after))

    # What the client does

    def body_received(self, count: int) -> None:
        """Bytes may have come into the client's buffer (`count` of them just now)."""
        if self._pace is not None:
            self._pace.received(self._client.seconds(), count)
        if self.state is State.SPOOLING:
            self._spool_body()
        elif self.state is State.SENDING:
            self._send_body()
        self._cut_if_ended()

    def client_ended(self) -> None:
        """The client ended its direction."""
        self._keep_client = False
        self._client_ended = True
        self._cut_if_ended()

    def _cut_if_ended(self) -> None:
        # The rest of the body will never come: the request is cut, never padded.
        if not self._client_ended or self._body.done or self.state is State.DONE:
            return
        buffered = len(self._client.buffer)
        missing = not buffered or (
            isinstance(self._body, LengthBody) and self._body.remaining > buffered
        )
        if missing:
            self._close_all()
            self._client.abort()

    def client_drained(self) -> None:
        """The client takes more of the answer."""
        if self._connection is not None and self.state is State.RELAYING:
            self._expect_progress()
            self._connection.wire.resume()

    def cancel(self) -> None:
        """The client is gone: release everything."""
        if self.state is not State.DONE:
            self._close_all()

    def sweep(self, now: float) -> None:
        """Look at the deadlines."""
        timing = self._client.timing
        if self._pace is not None and not self._body.done and self._pace.overdue(now):
            self._close_all()
            self._client.refuse(
                self, FramingError(408, "body_timeout", "the request's body came too slowly")
            )
        elif self._deadline is not None and now > self._deadline:
            if self.answer_begun:
                self._close_all()
                self._client.abort()
            else:
                self._fail(
                    Failure(
                        504,
                        "timeout",
                        f"the tenant's instance did not answer within"
                        f" {timing.upstream_timeout:g} s",
                        executed_unknown=True,
                    )
                )

    # Reading a chunked body to its end

    def _spool_body(self) -> None:
        assert self._spool is not None
        try:
            content = self._body.take(self._client.buffer)
            if content:
                self._spool.write(content)
        except FramingError as error:
            self._close_all()
            self._client.refuse(self, error)
            return
        except SpoolError:
            self._fail(Failure(503, "overloaded", "no room for the request's body", retry_after=5))
            return
        if self._body.done:
            self._pace = None
            self._connect()

    # Connecting

    def _connect(self) -> None:
        assert self._upstream is not None
        self._to(State.CONNECTING)
        self._cancel_pending = None
        cancel = self._pool.open(self._upstream, self._connected, self._refused)
        if self.state is State.CONNECTING and self._cancel_pending is None:
            self._cancel_pending = cancel

    def _refused(self) -> None:
        delay = next(self._retries, None)
        if delay is None:
            self._fail(
                Failure(502, "unreachable", "the tenant's instance refused every connection")
            )
            return
        self._cancel_pending = self._client.later(delay, self._again)

    def _again(self) -> None:
        self._cancel_pending = None
        self._to(State.QUEUED)
        self._give_slot_back()
        if self._spool is None:
            self._pace = None
        self._pool.enter(self)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._cancel_pending = None
        connection.user = self
        self._connection = connection
        upstream = connection.upstream
        self._to(State.SENDING)
        head = rewrite.upstream_head(
            self.head,
            key=upstream.key,
            host=f"{upstream.host}:{upstream.port}" if upstream.path is None else upstream.host,
            request_id=self.request_id,
            body_length=self._spool.length if self._spool is not None else None,
        )
        if self._spool is not None:
            self._pieces = self._spool.pieces()
        if connection.wire.send(head):
            self._send_body()
        else:
            self._expect_progress()

    # Sending the body

    def upstream_drained(self) -> None:
        if self.state is State.SENDING:
            self._send_body()

    def _send_body(self) -> None:
        if self.state is not State.SENDING or self._connection is None:
            return
        takes_more = self._send_direct() if self._pieces is None else self._send_spooled()
        if self.state is not State.SENDING:
            return
        if takes_more and self._body.done:
            self._to(State.AWAITING)
            self._expect_progress()
        elif takes_more:
            # The client is waited for, and its pace has a limit of its own.
            self._deadline = None
        else:
            self._expect_progress()

    def _expect_progress(self) -> None:
        self._deadline = self._client.seconds() + self._client.timing.upstream_timeout

    def _send_direct(self) -> bool:
        """Pass on what came; False when the instance takes no more for now."""
        assert self._connection is not None
        now = self._client.seconds()
        buffer = self._client.buffer
        takes_more = True
        if buffer and not self._body.done:
            takes_more = self._connection.wire.send(self._body.take(buffer))
        if self._body.done:
            self._pace = None
            self._client.resume()
        elif takes_more:
            if self._pace is not None:
                self._pace.go(now)
            self._client.resume()
        else:
            if self._pace is not None:
                self._pace.stop(now)
            self._client.pause()
        return takes_more

    def _send_spooled(self) -> bool:
        assert self._connection is not None
        assert self._pieces is not None
        while piece := self._pieces.next():
            if not self._connection.wire.send(piece):
                return False
        return True

    # The answer

    def answer_received(self, data: bytes) -> None:
        self._reader.buffer += data
        try:
            if self._answer is None and not self._read_answer_head():
                return
            self._relay()
        except FramingError as error:
            self._bad_answer(error.reason)

    def _read_answer_head(self) -> bool:
        while True:
            answer = self._reader.head()
            if answer is None:
                return False
            if answer.status >= 200:
                break
            self._interim += 1
            if answer.status == 101 or self._interim > MAX_INTERIM:
                raise FramingError(502, "bad_answer", "an upgrade, or too many interim answers")
        if answer.status == 401:
            # The gateway has authenticated already: this is about our key, not the client's.
            raise FramingError(502, "bad_answer", "the instance did not accept its key")
        if answer.connection_names & NOT_HOP_BY_HOP:
            raise FramingError(502, "bad_answer", "Connection names a field of the message")
        self._begin_answer(answer)
        return True

    def _begin_answer(self, answer: ResponseHead) -> None:
        self._answer = answer
        head = self.head
        if head.method == b"HEAD" or answer.status in (204, 304):
            self._content = LengthBody(0)
        elif answer.chunked:
            self._content = ChunkedBody(None, self._client.timing.max_head_bytes)
        elif answer.content_length is not None:
            self._content = LengthBody(answer.content_length)
        else:
            self._content = EndlessBody()
        length_known = isinstance(self._content, LengthBody)
        self._rechunk = not length_known and head.minor == 1
        if self.state is not State.AWAITING:
            # Answered before all was sent: neither connection can be used again.
            self._keep_client = False
        self._keep_client = (
            self._keep_client
            and head.keep_alive
            and (length_known or self._rechunk)
            and not self._client.closing()
        )
        if not self._keep_client:
            connection = answers.CLOSE
        else:
            connection = b"" if head.minor else answers.KEEP_ALIVE
        half_sent = self.state is State.SENDING
        self._to(State.RELAYING)
        if half_sent:
            self._client.pause()
        self.answer_begun = True
        self._expect_progress()
        self._client.send(
            rewrite.client_head(
                answer,
                request_id=self.request_id,
                connection=connection,
                chunked=self._rechunk,
            )
        )

    def _relay(self) -> None:
        if self.state is not State.RELAYING:
            return
        content = self._content.take(self._reader.buffer)
        if content:
            more = self._client.send(encode_chunk(content) if self._rechunk else content)
            self._expect_progress()
            if not more and not self._content.done and self._connection is not None:
                # No deadline while the client does not take its answer: that has its own.
                self._deadline = None
                self._connection.wire.pause()
        if self._content.done:
            self._finish()

    def _finish(self) -> None:
        if self._rechunk:
            self._client.send(LAST_CHUNK)
        connection, answer = self._connection, self._answer
        assert answer is not None
        reusable = (
            connection is not None
            and self.body_read
            and answer.keep_alive
            and not self._reader.buffer
            and not isinstance(self._content, EndlessBody)
        )
        if connection is not None:
            self._connection = None
            self._pool.take_back(connection, reusable)
        keep = self._keep_client and self.body_read
        self._close_all()
        self._client.finished(keep)

    def upstream_ended(self) -> None:
        self._upstream_over(clean=True)

    def upstream_lost(self) -> None:
        self._connection = None
        self._upstream_over(clean=False)

    def _upstream_over(self, clean: bool) -> None:
        if self.state is State.RELAYING and isinstance(self._content, EndlessBody) and clean:
            self._content.done = True
            self._finish()
        elif self.state is not State.DONE:
            self._bad_answer("the instance closed the connection before its answer was whole")

    def _bad_answer(self, reason: str) -> None:
        if self.answer_begun:
            self._close_all()
            self._client.abort()
        else:
            self._fail(Failure(502, "upstream_failed", reason, executed_unknown=True))

    # Ending

    def _fail(self, failure: Failure) -> None:
        self._close_all()
        self._client.fail(self, failure)

    def _close_all(self) -> None:
        self._to(State.DONE)
        self._deadline = None
        self._pace = None
        self._pool.withdraw(self)
        cancel, self._cancel_pending = self._cancel_pending, None
        if cancel is not None:
            cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        if self._spool is not None:
            self._spool.close()
        self._give_slot_back()

    def _give_slot_back(self) -> None:
        if self._slot:
            self._slot = False
            self._pool.leave()

    def _to(self, state: State) -> None:
        assert state in NEXT[self.state], (self.state, state)
        self.state = state
