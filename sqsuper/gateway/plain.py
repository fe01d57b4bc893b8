"""The short way of a plain request: recognised at a glance, sent and answered in one piece each.

Most requests are so: the field lines are known (`memo`), the body, if any, came with the head,
a slot is there, and an idle connection or one that comes about at once. `begin_plain` alone
decides that one is, and looks at everything first: before it has sent a byte nothing has changed,
and the request can still go the general way. Once it was sent it stands for an `Exchange` in
AWAITING, and is turned into one (`general`) by whatever happens but a plain answer.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import Protocol

from sqsuper.gateway.admission import barred
from sqsuper.gateway.exchange import Client, Exchange
from sqsuper.gateway.exchange_states import State
from sqsuper.gateway.front import Front
from sqsuper.gateway.memo import AdmittedHead
from sqsuper.gateway.rewrite import plain_client_head, plain_upstream_head
from sqsuper.gateway.statistics import (
    ACTIVE,
    BOUNDS,
    BUCKETS,
    BYTES_IN,
    BYTES_OUT,
    METHOD,
    SECONDS,
)
from sqsuper.gateway.upstream import Pool, UpstreamConnection
from sqsuper.http1 import grammar
from sqsuper.http1.credentials import Grant
from sqsuper.http1.head import RequestHead
from sqsuper.http1.target import HEALTH

# A request line of which the grammar, the method, the version and the form of the target are
# right. HEAD is left out, whose answer has another framing, as is what we answer ourselves.
_line = re.compile(rb"(GET|POST|DELETE) (/" + grammar.TARGET_CHAR + rb"*) HTTP/1\.1\r\n")


class PlainClient(Client, Protocol):
    """What a plain request needs of the connection that it came on."""

    def answered(self, plain: PlainExchange) -> float:
        """Go on after the whole answer, which was sent, with the next request.

        Return when that was.
        """

    def goes_on(self, exchange: Exchange, grant: Grant) -> None:
        """Learn that the request under way, of that grant, is `exchange` from now on."""


def begin_plain(  # noqa: PLR0911 - one line a rule
    client: PlainClient, front: Front, data: bytes, now: float
) -> PlainExchange | None:
    """Send the request that `data` is, if it is a plain one, to its instance; else None.

    `data`: all that came since the last request was over. None: it must go the general way, and
    nothing was done. `now`: seconds, as the client counts them.
    """
    line = _line.match(data)
    if line is None or len(data) > client.timing.max_head_bytes:
        return None
    start = line.end()
    end = data.find(b"\r\n\r\n", start)
    known = front.known_requests.heads.get(data[start : end + 2])
    if known is None or len(data) - end - 4 != (known.content_length or 0):
        return None
    grant = known.grant
    method, target = line.groups()
    if not (grant.is_lasting or grant.valid_at(front.now())):
        return None
    if target.startswith(HEALTH) or barred(grant, target) is not None:
        return None
    if method == b"POST" and known.content_length is None:
        return None
    if grant.tenant in front.rates or grant.tenant in front.full:
        return None
    pool = front.pool(grant.tenant)
    upstream = pool.at_once()
    if upstream is None:
        return None
    request_id = front.new_request_id()
    key = upstream.key.encode("ascii")
    request = plain_upstream_head(line[0], known.lines, request_id=request_id, key=key)
    if known.content_length:
        request += data[end + 4 :]
    connection = pool.send_at_once(upstream, request)
    if connection is None:
        return None
    grant.used = now
    plain = PlainExchange(client, pool, connection, known, method, target, request_id, now)
    pool.hold(plain)
    pool.counts[BYTES_IN] += len(data)
    connection.user = plain
    return plain


class PlainExchange:
    """See the module's text. An `UpstreamUser`.

    `status`, `sent` and `head_size`: of the answer, in bytes as `Exchange` counts them.
    """

    state = State.AWAITING

    __slots__ = (
        "_client",
        "_connection",
        "_known",
        "_method",
        "_pool",
        "_target",
        "head_size",
        "request_id",
        "sent",
        "sent_at",
        "status",
    )

    def __init__(  # noqa: PLR0917 - there is one for most requests, and names cost
        self,
        client: PlainClient,
        pool: Pool,
        connection: UpstreamConnection,
        known: AdmittedHead,
        method: bytes,
        target: bytes,
        request_id: bytes,
        now: float,
    ) -> None:
        self._client = client
        self._pool = pool
        self._connection = connection
        self._known = known
        self._method = method
        self._target = target
        self.request_id = request_id
        self.sent_at = now

    @property
    def tenant(self) -> str:
        return self._pool.tenant

    @property
    def head(self) -> RequestHead:
        return self._known.again(self._method, self._target)

    def general(self) -> Exchange:
        """Go on as an exchange, whatever comes; return it."""
        exchange = Exchange(self._client, self.head, self._pool, self.request_id)
        self._pool.hand_on(self, exchange)
        exchange.take_over(self._connection, self.sent_at)
        self._client.goes_on(exchange, self._known.grant)
        return exchange

    # UpstreamUser

    def answer_received(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n") + 4
        answer = self._pool.known_answers.find(data[:end])
        connection = self._connection
        client = self._client
        if (
            answer is None
            or len(data) - end != answer.length
            or connection.wire.pending
            or not self._known.keep_alive
            or client.closing()
        ):
            self.general().answer_received(data)
            return
        head = plain_client_head(answer.lines, self.request_id)
        # The empty line that ends the head, and the body.
        out = head + data[end - 2 :]
        self.status = answer.head.status
        self.head_size = len(head) + 2
        self.sent = len(out)
        client.send(out)
        now = client.answered(self)
        pool = self._pool
        # As `statistics.count` does it, without its costs.
        counts = pool.counts
        counts[answer.counted_at] += 1
        if self._method != b"GET":
            counts[METHOD[self._method]] += 1
        counts[BYTES_OUT] += len(out)
        seconds = now - self.sent_at
        counts[BUCKETS + bisect_left(BOUNDS, seconds)] += 1
        counts[SECONDS] += seconds
        counts[ACTIVE] = now
        pool.take_back(connection, answer.kept, self, now)
        pool.leave(self)

    def upstream_drained(self) -> None:
        self.general().upstream_drained()

    def upstream_ended(self) -> None:
        self.general().upstream_ended()

    def upstream_lost(self) -> None:
        self.general().upstream_lost()

    def crashed(self) -> None:
        if self._connection.user is self:
            self.general().crashed()
        else:
            # The connection was given back, and may be another's by now.
            self._pool.leave(self)
            self._client.abort()
