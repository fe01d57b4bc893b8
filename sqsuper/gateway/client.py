"""One client's connection: requests off the wire, one after another, each to its answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Container

from twisted.logger import Logger

from sqsuper.gateway.admission import OwnAnswer, admit, failed
from sqsuper.gateway.client_stream import LINGERING, LOST, OPEN, ClientStream
from sqsuper.gateway.exchange import Exchange
from sqsuper.gateway.exchange_states import State
from sqsuper.gateway.failure import Failure
from sqsuper.gateway.front import Front
from sqsuper.gateway.limits import Limits
from sqsuper.gateway.memo import AdmittedHead
from sqsuper.gateway.noting import note_end, note_own, note_relayed
from sqsuper.gateway.plain import PlainExchange, begin_plain
from sqsuper.gateway.rewrite import REQUEST_ID
from sqsuper.gateway.spool import Spool
from sqsuper.gateway.wire import Wire
from sqsuper.http1 import answers, credentials
from sqsuper.http1.credentials import Grant
from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import RequestHead
from sqsuper.http1.reader import RequestReader

# Unread behind the request that is served: past it we stop reading.
PIPELINE_BYTES = 65_536
MAX_REQUEST_ID = 128

log = Logger()


class ClientConnection(ClientStream):
    """See the module's text. A `WireUser`, and an `exchange_client.Client`."""

    __slots__ = (
        "_exchange",
        "_front",
        "_grant",
        "_leaving",
        "_read",
        "_reader",
        "_served",
        "_since",
        "_working",
        "door",
        "peer",
    )

    def __init__(self, front: Front, wire: Wire, peer: str, door: object = None) -> None:
        """`door`: what it came in by, for who asks."""
        self.door = door
        self.peer = peer
        super().__init__(wire, front.timing, front.seconds)
        self._front = front
        self._reader = RequestReader(
            front.timing.max_head_bytes, front.timing.max_body_bytes, front.known_requests.heads
        )
        self._exchange: Exchange | PlainExchange | None = None
        self._grant: Grant | None = None
        self._read = 0
        self._served = False
        self._since = self._taken_at
        self._working = False
        self._leaving = False

    # WireUser

    def received(self, data: bytes) -> bool | None:
        if self._phase is not OPEN:
            if self._phase is LINGERING:
                self._throw_away(len(data))
            return None
        reader = self._reader
        if self._exchange is None and not reader.started:
            front = self._front
            self._since = now = front.seconds()
            if not self._congested:
                plain = begin_plain(self, front, data, now)
                if plain is not None:
                    self._exchange = plain
                    return True
        reader.buffer += data
        self._read += len(data)
        exchange = self._under_way()
        if exchange is not None:
            exchange.body_received(len(data))
        self._proceed()
        return None

    def drained(self) -> None:
        self._congested = False
        exchange = self._under_way()
        if self._phase is LINGERING:
            self._left()
        elif exchange is not None:
            exchange.client_drained()
        else:
            # The client could hardly go on before it had its answer.
            self._since = self._front.seconds()
            self._proceed()

    def ended(self) -> None:
        self._ended = True
        exchange = self._under_way()
        if self._phase is LINGERING:
            self.close()
        elif exchange is not None:
            exchange.client_ended()
        else:
            self._proceed()

    def lost(self) -> None:
        self._phase = LOST
        exchange = self._under_way()
        self._exchange = None
        try:
            if exchange is not None:
                exchange.cancel()
                self._note(exchange, cut=True)
        finally:
            self._front.gone(self)

    # What an exchange needs

    @property
    def buffer(self) -> bytearray:
        return self._reader.buffer

    def fail(self, exchange: Exchange, failure: Failure) -> None:
        self._exchange = None
        self._front.failed(exchange.tenant, exchange.request_id, failure)
        self._answer(
            exchange.head,
            failed(exchange.head, failure, exchange.request_id),
            body_unread=not exchange.body_read,
            exchange=exchange,
        )
        self._proceed()

    def refuse(self, exchange: Exchange, error: FramingError) -> None:
        self._exchange = None
        head = exchange.head
        self._refuse(error, head.method, head.target, head, exchange)

    def finished(self, keep: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if type(exchange) is Exchange:
            self._note(exchange)
        self._after_answer(keep and not self.closing())
        self._proceed()

    def answer(self, plain: PlainExchange, whole: bytes, keep: bool) -> float:
        # Nothing has come since the request: `received` would have made it a general one.
        self._exchange = None
        front = self._front
        if keep:
            self.send(whole)
        else:
            self._send_last(whole)
        now = front.seconds()
        if front.access is not None:
            note_relayed(front.access, self.peer, plain, since=self._since, now=now, cut=False)
        self._since = now
        self._served = True
        return now

    def goes_on(self, exchange: Exchange, grant: Grant) -> None:
        self._exchange = exchange
        self._grant = grant

    def later(self, delay: float, call: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                call()
            except Exception:
                log.failure("a request's exchange failed")
                self.abort()

        return self._front.later(delay, guarded)

    def seconds(self) -> float:
        return self._front.seconds()

    def closing(self) -> bool:
        return self._front.closing() or self._leaving or (self._ended and not self.buffer)

    def new_spool(self) -> Spool:
        return self._front.new_spool()

    # What the gateway asks

    def sweep(self, now: float) -> None:
        """Look at the deadlines."""
        if self._is_over(now):
            return
        exchange = self._under_way()
        if exchange is not None:
            exchange.sweep(now)
        else:
            self._sweep_between(now)

    def close_if_idle(self, before: float = math.inf) -> None:
        """Close unless a request is being read or served, or it was opened or used since."""
        idle = self._exchange is None and not self._reader.started
        if idle and self._phase is OPEN and self._since <= before:
            self.close()

    def overstayed(self) -> None:
        """Answer what is under way, since the gateway ends; then close."""
        exchange = self._under_way()
        if exchange is not None:
            exchange.overstayed()
        elif self._reader.started and self._may_read():
            reason = "the gateway is stopping"
            error = FramingError(503, "draining", reason, [b"Retry-After: 1\r\n"])
            self._refuse(error, self._reader.method(), self._reader.target())
        elif self._phase is OPEN and not self._congested:
            self.close()

    def leave(self) -> None:
        """End with the next answer, or as idle connections do; its listener is closed."""
        self._leaving = True

    def retime(self, timing: Limits) -> None:
        """Go on with other limits, from here on."""
        self.timing = timing
        self._reader.limit(timing.max_head_bytes, timing.max_body_bytes)

    def end_if_revoked(self, revoked: Container[Grant | None]) -> None:
        """End what was begun with a token that is in `revoked`."""
        exchange = self._under_way()
        if exchange is None or self._grant not in revoked:
            return
        if exchange.state is not State.QUEUED:
            # Its answer, or its body, is under way: it cannot be answered otherwise any more.
            self.abort()
            return
        self._exchange = None
        exchange.cancel()
        head = exchange.head
        answer = OwnAnswer(
            head,
            lambda connection: answers.unauthorized(
                method=head.method, target=head.target, connection=connection
            ),
        )
        self._answer(head, answer, body_unread=not exchange.body_read, exchange=exchange)
        self._proceed()

    def _under_way(self) -> Exchange | None:
        """Return the exchange under way; a plain one is no longer that, whatever happens next."""
        exchange = self._exchange
        return exchange.general() if type(exchange) is PlainExchange else exchange  # type: ignore[return-value]

    def _sweep_between(self, now: float) -> None:
        timing = self.timing
        waited = now - self._since
        if self._congested:
            return
        if self._reader.started:
            if waited > timing.head_timeout:
                reason = f"the request's head took longer than {timing.head_timeout:g} s"
                self._refuse(
                    FramingError(408, "head_timeout", reason),
                    self._reader.method(),
                    self._reader.target(),
                )
        elif waited > (timing.idle_timeout if self._served else timing.head_timeout):
            self.close()

    # Requests

    def _proceed(self) -> None:
        """Take requests off the buffer until one is under way or no whole head is left."""
        if self._working:
            return
        self._working = True
        try:
            while self._reader.buffer and self._may_read() and self._one_request():
                pass
        finally:
            self._working = False
        if self._phase is not OPEN:
            return
        if self._exchange is not None or self._congested:
            if self.buffer and len(self.buffer) > self._unread_at_most():
                self.pause()
        elif self._ended:
            # Nothing is owed but what is on its way already.
            self.close()
        else:
            self.resume()

    def _unread_at_most(self) -> int:
        exchange = self._exchange
        if type(exchange) is Exchange and exchange.state is State.QUEUED:
            # Of what a held request brings along no more is taken than came with its head.
            return 0
        return PIPELINE_BYTES

    def _may_read(self) -> bool:
        return self._phase is OPEN and self._exchange is None and not self._congested

    def _one_request(self) -> bool:
        """Take one request off the buffer; False when no whole head is there."""
        try:
            head = self._reader.head()
        except FramingError as error:
            self._refuse(error, self._reader.method(), self._reader.target())
            return False
        if head is None:
            return False
        try:
            admitted = admit(self._front, self.peer, head)
        except FramingError as error:
            self._refuse(error, head.method, head.target, head)
            return False
        if isinstance(admitted, OwnAnswer):
            self._answer(head, admitted, body_unread=head.has_body)
        else:
            self._relay(head, admitted)
        return True

    def _relay(self, head: RequestHead, grant: Grant) -> None:
        pool = self._front.pool(grant.tenant)
        self._grant = grant
        grant.used = self._front.seconds()
        self._exchange = exchange = Exchange(self, head, pool, self._request_id(head))
        exchange.start()
        if self._ended and self._exchange is exchange:
            exchange.client_ended()

    def _request_id(self, head: RequestHead) -> bytes:
        for name, value, _line in () if type(head) is AdmittedHead else head.fields:
            if name == REQUEST_ID:
                if 0 < len(value) <= MAX_REQUEST_ID and credentials.is_token(value):
                    # It stands in logs and answers, where no token must.
                    known = self._front.lookup(credentials.digest(value))
                    return self._front.new_request_id() if known is not None else value
                break
        return self._front.new_request_id()

    # Answers of our own

    def _answer(
        self,
        head: RequestHead,
        answer: OwnAnswer,
        *,
        body_unread: bool,
        exchange: Exchange | None = None,
    ) -> None:
        keep = head.keep_alive and not body_unread and not self.closing()
        data = answer.render(keep)
        self.send(data)
        self._note_own(data, head, exchange, tenant=answer.tenant)
        self._after_answer(keep)

    def _after_answer(self, keep: bool) -> None:
        self._since = self._front.seconds()
        self._served = True
        if not keep:
            self._end_requests()

    def _refuse(
        self,
        error: FramingError,
        method: bytes,
        on: bytes,
        head: RequestHead | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        data = answers.error(
            error.status,
            error.code,
            error.reason,
            method=method,
            target=on,
            fields=error.fields,
        )
        self.send(data)
        self._note_own(data, head, exchange, method=method, target=on)
        self._end_requests()

    def _end_requests(self) -> None:
        unread = len(self.buffer)
        self.buffer.clear()
        self._finish(unread)

    # The access log, and statistics

    def _note(self, exchange: Exchange, cut: bool = False) -> None:
        received, since = self._size(), self._since
        note_end(self._front, self.peer, exchange, since=since, received=received, cut=cut)

    def _note_own(
        self,
        answer: bytes,
        head: RequestHead | None,
        exchange: Exchange | None,
        *,
        tenant: str = "",
        method: bytes = b"",
        target: bytes = b"",
    ) -> None:
        note_own(
            self._front,
            self.peer,
            answer,
            head,
            exchange,
            since=self._since,
            received=self._size(),
            tenant=tenant,
            method=method,
            target=target,
        )

    def _size(self) -> int:
        """Return how much was read of the request that is over; what is left is the next one's."""
        left = len(self.buffer)
        taken, self._read = self._read - left, left
        return taken
