"""One client's connection: requests off the wire, one after another, each to its answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from sqsuper.gateway.exchange import Exchange, Failure
from sqsuper.gateway.limits import Limits
from sqsuper.gateway.rewrite import REQUEST_ID
from sqsuper.gateway.spool import Spool
from sqsuper.gateway.upstream import Pool
from sqsuper.gateway.wire import Wire
from sqsuper.http1 import answers, credentials, target
from sqsuper.http1.credentials import Grant, Rejected
from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import RequestHead
from sqsuper.http1.reader import RequestReader

# Unread behind the request that is served: past it we stop reading.
PIPELINE_BYTES = 65_536
MAX_REQUEST_ID = 128


class Front(Protocol):
    """What a client's connection needs of the gateway."""

    timing: Limits

    def seconds(self) -> float: ...
    def later(self, delay: float, call: Callable[[], None]) -> Callable[[], None]: ...
    def lookup(self, digest: bytes) -> Grant | None: ...
    def now(self) -> float:
        """Return Unix seconds."""

    def wrong_token(self, peer: str, head: RequestHead) -> int | None:
        """Count an unknown token; return None, or the seconds to wait when there were too many."""

    def pool(self, tenant: str) -> Pool: ...
    def new_spool(self) -> Spool: ...
    def new_request_id(self) -> bytes: ...
    def health(self) -> tuple[int, bytes]:
        """Return status and JSON line of `GET /health`."""

    def closing(self) -> bool: ...
    def gone(self, client: ClientConnection) -> None: ...
    def failed(self, tenant: str, request_id: bytes, failure: Failure) -> None:
        """Learn that a request was answered with 502, 503 or 504."""


class ClientConnection:
    """See the module's text. A `WireUser`; what an exchange needs of it is `exchange.Client`."""

    __slots__ = (
        "_closed",
        "_congested_since",
        "_ended",
        "_exchange",
        "_exchange_tenant",
        "_front",
        "_linger_left",
        "_linger_until",
        "_paused",
        "_reader",
        "_served",
        "_since",
        "_working",
        "peer",
        "timing",
        "wire",
    )

    def __init__(self, front: Front, wire: Wire, peer: str) -> None:
        self.peer = peer
        self.wire = wire
        self.timing = front.timing
        self._front = front
        self._reader = RequestReader(front.timing.max_head_bytes, front.timing.max_body_bytes)
        self._exchange: Exchange | None = None
        self._exchange_tenant = ""
        self._served = False
        self._since = front.seconds()
        self._congested_since: float | None = None
        self._linger_until: float | None = None
        self._linger_left = answers.LINGER_BYTES
        self._paused = False
        self._ended = False
        self._closed = False
        self._working = False

    # WireUser

    def received(self, data: bytes) -> None:
        if self._linger_until is not None:
            self._linger_left -= len(data)
            if self._linger_left < 0:
                self.close()
            return
        if not self._reader.started:
            self._since = self._front.seconds()
        self._reader.buffer += data
        if self._exchange is not None:
            self._exchange.body_received(len(data))
        self._proceed()

    def drained(self) -> None:
        self._congested_since = None
        if self._linger_until is not None:
            self._linger_until = self._front.seconds() + answers.LINGER_SECONDS
        elif self._exchange is not None:
            self._exchange.client_drained()
        else:
            self._proceed()

    def ended(self) -> None:
        self._ended = True
        if self._linger_until is not None:
            self.close()
        elif self._exchange is not None:
            self._exchange.client_ended()
        elif self._congested_since is None:
            # Nothing is owed but what is on its way already.
            self.close()

    def lost(self) -> None:
        self._closed = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        self._front.gone(self)

    # What an exchange needs

    @property
    def buffer(self) -> bytearray:
        return self._reader.buffer

    def send(self, data: bytes) -> bool:
        if self._closed:
            return True
        more = self.wire.send(data)
        if not more and self._congested_since is None:
            self._congested_since = self._front.seconds()
        return more

    def pause(self) -> None:
        if not self._paused and not self._closed:
            self._paused = True
            self.wire.pause()

    def resume(self) -> None:
        if self._paused and not self._closed:
            self._paused = False
            self.wire.resume()

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self.wire.abort()

    def close(self) -> None:
        """Close once all that was sent has left."""
        if not self._closed:
            self._closed = True
            self.wire.close()

    def fail(self, exchange: Exchange, failure: Failure) -> None:
        facts: dict[str, object] = {"request_id": exchange.request_id.decode("latin-1")}
        if failure.executed_unknown:
            facts["executed"] = "unknown"
        fields = [_id_line(exchange.request_id)]
        if failure.retry_after is not None:
            fields.append(b"Retry-After: %d\r\n" % failure.retry_after)
        head = exchange.head
        self._exchange = None
        self._front.failed(self._exchange_tenant, exchange.request_id, failure)
        self._answer(
            head,
            lambda connection: answers.error(
                failure.status,
                failure.code,
                failure.reason,
                method=head.method,
                target=head.target,
                connection=connection,
                fields=fields,
                facts=facts,
            ),
            body_unread=not exchange.body_read,
        )
        self._proceed()

    def refuse(self, exchange: Exchange, error: FramingError) -> None:
        self._exchange = None
        self._refuse(error, exchange.head.method, exchange.head.target)

    def finished(self, keep: bool) -> None:
        self._exchange = None
        self._after_answer(keep)
        self._proceed()

    def later(self, delay: float, call: Callable[[], None]) -> Callable[[], None]:
        return self._front.later(delay, call)

    def seconds(self) -> float:
        return self._front.seconds()

    def closing(self) -> bool:
        return self._front.closing() or self._ended

    def new_spool(self) -> Spool:
        return self._front.new_spool()

    # What the gateway asks

    def sweep(self, now: float) -> None:
        """Look at the deadlines."""
        timing = self.timing
        if self._congested_since is not None and now - self._congested_since > timing.send_timeout:
            self.abort()
        elif self._linger_until is not None:
            if now > self._linger_until:
                self.close()
        elif self._exchange is not None:
            self._exchange.sweep(now)
        elif self._reader.started:
            if now - self._since > timing.head_timeout:
                self._refuse(
                    FramingError(
                        408,
                        "head_timeout",
                        f"the request's head took longer than {timing.head_timeout:g} s",
                    ),
                    self._reader.method(),
                    self._reader.target(),
                )
        elif now - self._since > (timing.idle_timeout if self._served else timing.head_timeout):
            self.close()

    def close_if_idle(self) -> None:
        """Close unless a request is being read or served."""
        if self._exchange is None and self._linger_until is None and not self._reader.started:
            self._finish()

    # Requests

    def _proceed(self) -> None:
        """Take requests off the buffer until one is under way or no whole head is left."""
        if self._working:
            return
        self._working = True
        try:
            while self._may_read() and self._one_request():
                pass
        finally:
            self._working = False
        if self._closed or self._linger_until is not None:
            return
        busy = self._exchange is not None or self._congested_since is not None
        if busy and len(self.buffer) > PIPELINE_BYTES:
            self.pause()
        elif not busy and self._ended:
            self.close()
        elif not busy:
            self.resume()

    def _may_read(self) -> bool:
        return (
            self._exchange is None
            and self._linger_until is None
            and self._congested_since is None
            and not self._closed
        )

    def _one_request(self) -> bool:
        try:
            head = self._reader.head()
        except FramingError as error:
            self._refuse(error, self._reader.method(), self._reader.target())
            return False
        if head is None:
            return False
        try:
            self._dispatch(head)
        except FramingError as error:
            self._refuse(error, head.method, head.target)
        self._since = self._front.seconds()
        return True

    def _dispatch(self, head: RequestHead) -> None:
        if head.method == b"OPTIONS":
            self._answer(head, answers.preflight)
            return
        path = target.split(head.target)[0]
        if path == target.HEALTH:
            self._health(head)
            return
        grant = credentials.authenticate(
            credentials.candidates(head.fields), self._front.lookup, self._front.now()
        )
        if isinstance(grant, Rejected):
            self._reject(head, grant)
            return
        if not grant.enabled:
            self._error(head, 403, "disabled", "this tenant is switched off")
        elif target.is_reload(head.target):
            self._error(head, 403, "forbidden", "reload is not served here")
        elif target.is_admin(head.target):
            self._error(head, 404, "not_found", "the admin API has a listener of its own")
        elif grant.read_only and not target.is_read_only(head.target):
            self._error(head, 403, "read_only", "this token may only read")
        else:
            self._exchange = exchange = Exchange(
                self, head, self._front.pool(grant.tenant), self._request_id(head)
            )
            self._exchange_tenant = grant.tenant
            exchange.start()
            if self._ended and self._exchange is exchange:
                exchange.client_ended()

    def _health(self, head: RequestHead) -> None:
        if head.method not in (b"GET", b"HEAD"):
            self._error(
                head,
                405,
                "method_not_allowed",
                "GET, HEAD and OPTIONS are allowed here",
                (b"Allow: GET, HEAD, OPTIONS\r\n",),
            )
            return
        status, line = self._front.health()

        def render(connection: bytes) -> bytes:
            start = answers.head(
                status, length=len(line), content_type=answers.JSON, connection=connection
            )
            return start if head.method == b"HEAD" else start + line

        self._answer(head, render)

    def _reject(self, head: RequestHead, rejected: Rejected) -> None:
        wait = self._front.wrong_token(self.peer, head) if rejected.wrong else None
        if wait is not None:
            self._error(
                head,
                429,
                "too_many_wrong_tokens",
                "too many unknown tokens came from this address",
                (b"Retry-After: %d\r\n" % wait,),
            )
            return
        self._answer(
            head,
            lambda connection: answers.unauthorized(
                method=head.method, target=head.target, connection=connection
            ),
        )

    def _request_id(self, head: RequestHead) -> bytes:
        for name, value, _line in head.fields:
            if name == REQUEST_ID:
                if 0 < len(value) <= MAX_REQUEST_ID and credentials.is_token(value):
                    return value
                break
        return self._front.new_request_id()

    # Answers of our own

    def _error(
        self, head: RequestHead, status: int, code: str, reason: str, fields: Sequence[bytes] = ()
    ) -> None:
        self._answer(
            head,
            lambda connection: answers.error(
                status,
                code,
                reason,
                method=head.method,
                target=head.target,
                connection=connection,
                fields=fields,
            ),
        )

    def _answer(
        self,
        head: RequestHead,
        render: Callable[[bytes], bytes],
        body_unread: bool | None = None,
    ) -> None:
        if body_unread is None:
            body_unread = head.has_body
        keep = head.keep_alive and not body_unread and not self.closing()
        connection = answers.CLOSE if not keep else b"" if head.minor else answers.KEEP_ALIVE
        self.send(render(connection))
        self._after_answer(keep)

    def _after_answer(self, keep: bool) -> None:
        self._since = self._front.seconds()
        self._served = True
        if not keep:
            self._finish()

    def _refuse(self, error: FramingError, method: bytes, on: bytes) -> None:
        self.send(
            answers.error(
                error.status,
                error.code,
                error.reason,
                method=method,
                target=on,
                fields=error.fields,
            )
        )
        self._finish()

    def _finish(self) -> None:
        """Half-close, then read on for a while, or a reset could overtake the answer."""
        if self._closed:
            return
        if self._ended:
            self.close()
            return
        # The time to read on begins when all was sent (`drained`); until then it is the
        # client that takes nothing.
        self._linger_until = math.inf
        self._congested_since = self._front.seconds()
        self._linger_left -= len(self.buffer)
        self.buffer.clear()
        self.wire.finish()
        self.resume()


def _id_line(request_id: bytes) -> bytes:
    return b"X-Request-ID: %b\r\n" % request_id
