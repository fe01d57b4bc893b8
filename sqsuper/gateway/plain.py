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

from sqsuper.gateway.admission import MAX_KEPT_PATH, barred
from sqsuper.gateway.exchange import Exchange
from sqsuper.gateway.exchange_client import Client
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
from sqsuper.gateway.upstream import Pool
from sqsuper.gateway.upstream_connection import UpstreamConnection
from sqsuper.http1 import answers, grammar
from sqsuper.http1.credentials import Grant
from sqsuper.http1.head import RequestHead
from sqsuper.http1.target import HEALTH

# A request line of which the grammar, the method, the version and the form of the target are
# right. HEAD is left out, whose answer has another framing, as is what we answer ourselves.
_line = re.compile(rb"(GET|POST|DELETE) (/" + grammar.TARGET_CHAR + rb"*) HTTP/1\.1\r\n")

# Remembered of each head, with the path of `MAX_KEPT_PATH` bytes at most.
MAX_PATHS = 16


class PlainClient(Client, Protocol):
    """What a plain request needs of the connection that it came on."""

    def answer(self, plain: PlainExchange, whole: bytes, keep: bool) -> float:
        """Send the whole answer to `plain`, the request under way, and return when that was.

        `keep`: then go on with the next request; else end.
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
    if target.partition(b"?")[0] not in known.paths and not _opens(known, target):
        return None
    if method == b"POST" and known.content_length is None:
        return None
    tenant = grant.tenant
    if tenant in front.rates or tenant in front.full:
        return None
    pool = front.pool(tenant)
    upstream = pool.at_once()
    if upstream is None:
        return None
    request_id = front.new_request_id()
    key = upstream.key.encode("ascii")
    request = plain_upstream_head(line[0], known.lines, request_id, key)
    if known.content_length:
        request += data[end + 4 :]
    plain = PlainExchange(client, pool, known, method, target, request_id, now)
    connection = pool.send_at_once(upstream, request, plain)
    if connection is None:
        return None
    plain._connection = connection
    grant.used = now
    pool.counts[BYTES_IN] += len(data)
    return plain


def _opens(known: AdmittedHead, target: bytes) -> bool:
    """Whether the instance is to answer `target`, as far as the grant goes; remember it then."""
    if target.startswith(HEALTH) or barred(known.grant, target) is not None:
        return False
    path = target.partition(b"?")[0]
    if len(path) <= MAX_KEPT_PATH and len(known.paths) < MAX_PATHS:
        known.paths.add(path)
    return True


class PlainExchange:
    """See the module's text. An `UpstreamUser`.

    `status`, `sent` and `head_size`: of the answer, in bytes as `Exchange` counts them.
    """

    state = State.AWAITING

    _connection: UpstreamConnection  # once it was sent

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
        known: AdmittedHead,
        method: bytes,
        target: bytes,
        request_id: bytes,
        now: float,
    ) -> None:
        self._client = client
        self._pool = pool
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
        if answer is None or len(data) - end != answer.length or connection.wire.pending:
            self.general().answer_received(data)
            return
        client = self._client
        head = plain_client_head(answer.lines, self.request_id)
        keep = self._known.keep_alive and not client.closing()
        if not keep:
            head += answers.CLOSE
        # The empty line that ends the head, and the body.
        out = head + data[end - 2 :]
        self.status = answer.status
        self.head_size = len(head) + 2
        self.sent = len(out)
        now = client.answer(self, out, keep)
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
        pool.done(self, connection, answer.kept, now)

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
