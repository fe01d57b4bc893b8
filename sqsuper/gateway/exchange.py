"""One request and its answer: from the checked head to the last byte of the answer.

States and what may follow them stand in `exchange_states`. Rules:

* Nothing is sent to the instance before a slot is taken, and nothing of a chunked body before
  it was read to its end.
* A request of which a byte was sent is never sent again: SQ's GETs change data.
* Once a byte of the answer has gone to the client, an error can only cut the connection.
* An upstream connection is kept only if request and answer were whole, nothing is left over,
  and the answer announced keep-alive.
* However an exchange ends, it ends in `_release`: the slot is given back there, or left to an
  `Ending` while the instance may still be at work.
"""

from __future__ import annotations

from collections.abc import Callable

from sqsuper.gateway import rewrite
from sqsuper.gateway.answer import AnswerStream
from sqsuper.gateway.body import RequestBody
from sqsuper.gateway.exchange_client import Client
from sqsuper.gateway.exchange_states import NEXT, State
from sqsuper.gateway.failure import Failure
from sqsuper.gateway.memo import AdmittedHead
from sqsuper.gateway.retries import Retries
from sqsuper.gateway.spool import SpoolError
from sqsuper.gateway.statistics import UPSTREAM_ERRORS, Row
from sqsuper.gateway.upstream import Pool
from sqsuper.gateway.upstream_connection import UpstreamConnection
from sqsuper.http1 import answers
from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import RequestHead
from sqsuper.instances import Unavailable, Upstream

# An enum's members are slow to find through their class.
_QUEUED, _SPOOLING, _CONNECTING, _SENDING, _AWAITING, _RELAYING, _DONE = State


class Exchange:
    """See the module's text. One object a request; it is an `Asker` and an `UpstreamUser`."""

    __slots__ = (
        "_answer",
        "_body",
        "_cancel_pending",
        "_client",
        "_client_ended",
        "_connection",
        "_continued",
        "_deadline",
        "_pool",
        "_retries",
        "_upstream",
        "head",
        "head_size",
        "request_id",
        "sent",
        "sent_at",
        "state",
    )

    def __init__(self, client: Client, head: RequestHead, pool: Pool, request_id: bytes) -> None:
        self.head = head
        self.request_id = request_id
        self.state = _QUEUED
        # For the access log: when the request went to the instance, and the answer's bytes.
        self.sent_at: float | None = None
        self.sent = 0
        self.head_size = 0
        self._client = client
        self._pool = pool
        self._upstream: Upstream | None = None
        self._connection: UpstreamConnection | None = None
        self._cancel_pending: Callable[[], None] | None = None
        self._retries: Retries | None = None
        self._continued = False
        self._client_ended = False
        self._deadline: float | None = None
        self._answer = AnswerStream(head, request_id, pool.known_answers)
        self._body = RequestBody(head, client.buffer, client.timing)

    @property
    def tenant(self) -> str:
        return self._pool.tenant

    @property
    def counts(self) -> Row:
        """Where the tenant's requests are counted."""
        return self._pool.counts

    @property
    def status(self) -> int:
        """Return the status of the instance's answer, 0 while it has none."""
        return self._answer.status

    @property
    def body_read(self) -> bool:
        """Whether the request's body was read to its end (true without a body)."""
        return self._body.read

    def start(self) -> None:
        """Ask for a slot."""
        self._pool.enter(self)

    def take_over(self, connection: UpstreamConnection, sent_at: float) -> None:
        """Go on with a request that was sent, whole, on `connection`; instead of `start`.

        The slot is this exchange's already.
        """
        self.state = _AWAITING
        self._upstream = connection.upstream
        self._connection = connection
        connection.user = self
        self.sent_at = sent_at
        self._deadline = sent_at + self._client.timing.upstream_timeout
        self._body.passed()

    # Asker

    def granted(self, upstream: Upstream) -> None:
        self._upstream = upstream
        if self.head.expects_continue and not self._continued:
            self._continued = True
            self._client.send(answers.CONTINUE)
        if self._body.must_be_spooled():
            self._to(_SPOOLING)
            self._body.begin(self._client.seconds())
            self._client.resume()
            self._spool_body()
        else:
            self._connect()

    def turned_away(self, reason: Unavailable) -> None:
        text = reason.reason
        if reason.code == "failed":
            # Why is the operator's to know, and in the supervisor's log.
            text = "the tenant's instance cannot run at the moment"
        self._fail(
            Failure(503, reason.code, text, retry_after=reason.retry_after, cause=reason.cause)
        )

    def connected(self, connection: UpstreamConnection) -> None:
        self._cancel_pending = None
        connection.user = self
        self._connection = connection
        self.sent_at = self._client.seconds()
        self._to(_SENDING)
        head = rewrite.upstream_head(
            self.head,
            connection.upstream,
            request_id=self.request_id,
            body_length=self._body.spooled_length,
            lines=self.head.lines if type(self.head) is AdmittedHead else None,
        )
        if not self._body.empty:
            self._body.begin(self._client.seconds())
            self._body.rewind()
        self._go_on_sending(connection.wire.send(head))

    def refused(self, busy: bool) -> None:
        now = self._client.seconds()
        assert self._upstream is not None
        if self._retries is None:
            self._retries = Retries()
        if busy:
            delay = self._retries.busy(now, self._pool.queue_timeout)
            call = self._connect
            failure = Failure(
                503, "overloaded", "the tenant's instance takes no connection", retry_after=1
            )
        else:
            delay = self._retries.refused(self._upstream.epoch, now)
            call = self._enter_again
            failure = Failure(502, "unreachable", "the tenant's instance refused every connection")
        if delay is None:
            self._fail(failure)
        else:
            self._cancel_pending = self._client.later(delay, call)

    def crashed(self) -> None:
        if self.state is not _DONE:
            self._release()
        self._client.abort()

    def _connect(self) -> None:
        assert self._upstream is not None
        if self.state is not _CONNECTING:
            self._to(_CONNECTING)
        self._cancel_pending = None
        cancel = self._pool.open(self, self._upstream)
        # It may have come to an end already, even to the wait before the next attempt.
        if self.state is _CONNECTING and self._cancel_pending is None:
            self._cancel_pending = cancel

    def _enter_again(self) -> None:
        self._cancel_pending = None
        self._to(_QUEUED)
        self._pool.leave(self)
        self._pool.enter(self, again=True)

    # What the client does

    def body_received(self, count: int) -> None:
        """Bytes have come into the client's buffer, `count` of them just now."""
        self._body.received(self._client.seconds(), count)
        if self.state is _SPOOLING:
            self._spool_body()
        elif self.state is _SENDING and not self._body.read:
            self._go_on_sending(True)

    def client_ended(self) -> None:
        """The client ended its direction: what is there of the request is all of it."""
        self._client_ended = True
        self._cut_if_ended()

    def _cut_if_ended(self) -> None:
        # The rest of the body will never come: the request is cut, never padded.
        if self._client_ended and self.state is not _DONE and self._body.is_cut():
            self._release()
            self._client.abort()

    def client_drained(self) -> None:
        """The client takes more of the answer."""
        if self._connection is not None and self.state is _RELAYING:
            self._expect_progress()
            self._connection.wire.resume()

    def cancel(self) -> None:
        """The client is gone: release everything. Idempotent."""
        if self.state is not _DONE:
            self._release(asked=self.state is _AWAITING)

    def overstayed(self) -> None:
        """End, since the gateway does: with an answer, or by cutting the one that has begun."""
        if self.state is _RELAYING:
            self._release()
            self._client.abort()
        elif self.state in (_SENDING, _AWAITING):
            reason = "the service stopped before the tenant's instance had answered"
            failure = Failure(502, "draining", reason, executed_unknown=True)
            self._fail(failure, asked=self.state is _AWAITING)
        elif self.state is not _DONE:
            self._fail(Failure(503, "draining", "the gateway is stopping", retry_after=1))

    def sweep(self, now: float) -> None:
        """Look at the deadlines."""
        if self._body.overdue(now):
            self._refuse(FramingError(408, "body_timeout", "the request's body came too slowly"))
        elif self._deadline is not None and now > self._deadline:
            if self.state is _RELAYING:
                self._cut_answer()
            else:
                limit = self._client.timing.upstream_timeout
                reason = f"the tenant's instance did not answer within {limit:g} s"
                failure = Failure(504, "timeout", reason, executed_unknown=True)
                self._fail(failure, asked=self.state is _AWAITING)

    # The request

    def _spool_body(self) -> None:
        try:
            self._body.spool(self._client.new_spool)
        except FramingError as error:
            self._refuse(error)
        except SpoolError:
            self._fail(Failure(503, "overloaded", "no room for the request's body", retry_after=5))
        else:
            if self._body.read:
                self._connect()
            else:
                self._cut_if_ended()

    def _go_on_sending(self, takes_more: bool) -> None:
        """Send what there is to send; `takes_more`: the instance's connection is not full."""
        assert self._connection is not None
        wire = self._connection.wire
        while takes_more and not self._body.empty:
            more = self._body.send(wire)
            if more is None:
                break
            takes_more = more
        if takes_more and self._body.read:
            self._to(_AWAITING)
            self._client.resume()
            self._expect_progress()
        elif takes_more:
            # The client is waited for, and its pace has a limit of its own.
            self._deadline = None
            self._body.reading(self._client.seconds(), True)
            self._client.resume()
        else:
            # Read no more than the instance takes.
            self._expect_progress()
            self._body.reading(self._client.seconds(), False)
            self._client.pause()

    def _expect_progress(self) -> None:
        self._deadline = self._client.seconds() + self._client.timing.upstream_timeout

    # UpstreamUser

    def answer_received(self, data: bytes) -> None:
        try:
            out = self._answer.received(data, self._client_may_go_on)
        except FramingError as error:
            self._bad_answer(error.reason)
        else:
            self._pass_on(out)

    def upstream_drained(self) -> None:
        if self.state is _SENDING:
            self._go_on_sending(True)

    def upstream_ended(self) -> None:
        try:
            out = self._answer.ended()
        except FramingError as error:
            self._bad_answer(error.reason)
        else:
            self._pass_on(out)

    def upstream_lost(self) -> None:
        self._connection = None
        self._bad_answer("the instance closed the connection before its answer was whole")

    def _all_sent(self) -> bool:
        if self.state is _SENDING or not self._body.read:
            return False
        connection = self._connection
        return connection is None or not connection.wire.pending

    def _client_may_go_on(self) -> bool:
        return self._all_sent() and not self._client.closing()

    def _pass_on(self, out: bytes) -> None:
        if not out and not self._answer.done:
            return
        half_sent = not self._all_sent()
        if self.state is not _RELAYING:
            self._to(_RELAYING)
            if not self._body.read:
                # What is left of the request goes nowhere any more.
                self._body.reading(self._client.seconds(), False)
                self._client.pause()
        if not self.sent:
            self.head_size = out.find(b"\r\n\r\n") + 4
        self.sent += len(out)
        takes_more = self._client.send(out)
        if self.state is not _RELAYING:
            return
        if self._answer.done:
            self._finish(reusable=self._answer.reusable and not half_sent)
        elif takes_more:
            self._expect_progress()
        else:
            # While the client takes nothing that is the client's deadline.
            self._deadline = None
            assert self._connection is not None
            self._connection.wire.pause()

    def _finish(self, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.take_back(connection, reusable, self)
        self._release()
        self._client.finished(self._answer.keep_client)

    # Ending

    def _bad_answer(self, reason: str) -> None:
        if self.state is _RELAYING:
            self._cut_answer()
        else:
            self._fail(Failure(502, "upstream_failed", reason, executed_unknown=True))

    def _cut_answer(self) -> None:
        self.counts[UPSTREAM_ERRORS] += 1
        self._release()
        self._client.abort()

    def _fail(self, failure: Failure, asked: bool = False) -> None:
        if failure.status != 503:
            self.counts[UPSTREAM_ERRORS] += 1
        self._release(asked)
        self._client.fail(self, failure)

    def _refuse(self, error: FramingError) -> None:
        self._release()
        self._client.refuse(self, error)

    def _release(self, asked: bool = False) -> None:
        """End; `asked`: see `Pool.abandon`."""
        self._to(_DONE)
        self._deadline = None
        try:
            self._pool.withdraw(self)
            cancel, self._cancel_pending = self._cancel_pending, None
            if cancel is not None:
                cancel()
            connection, self._connection = self._connection, None
            if connection is not None:
                self._pool.abandon(self, connection, asked)
            self._body.close()
        finally:
            self._pool.leave(self)

    def _to(self, state: State) -> None:
        assert state in NEXT[self.state], (self.state, state)
        self.state = state
