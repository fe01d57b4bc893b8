"""What the access log is told, and what is counted, of a request that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqsuper.gateway.accesslog import CLIENT_GONE, AccessLog
from sqsuper.gateway.front import Front
from sqsuper.gateway.statistics import code_of, count, count_latency
from sqsuper.http1.head import RequestHead

if TYPE_CHECKING:
    from sqsuper.gateway.exchange import Exchange


class Relayed(Protocol):
    """A request that went, or was to go, to an instance: an exchange of either kind."""

    @property
    def head(self) -> RequestHead: ...
    @property
    def tenant(self) -> str: ...
    @property
    def request_id(self) -> bytes: ...
    @property
    def status(self) -> int:
        """Return the status of the instance's answer, 0 while it has none."""

    @property
    def sent(self) -> int:
        """Return how many bytes of the answer the client was sent; the head's are among them."""

    @property
    def head_size(self) -> int: ...
    @property
    def sent_at(self) -> float | None:
        """Return when it went to the instance, or None."""


def note_relayed(
    access: AccessLog, peer: str, relayed: Relayed, *, since: float, now: float, cut: bool
) -> None:
    """Note an instance's answer, or what became of the request without one.

    `since`: when its first byte came; `cut`: the client did not get all of the answer.
    """
    access.request(
        peer,
        relayed.head,
        status=relayed.status or CLIENT_GONE,
        body=relayed.sent - relayed.head_size,
        sent=relayed.sent,
        seconds=now - since,
        upstream=None if relayed.sent_at is None else now - relayed.sent_at,
        tenant=relayed.tenant,
        request_id=relayed.request_id,
        cut=cut,
    )


def note_end(
    front: Front, peer: str, exchange: Exchange, *, since: float, received: int, cut: bool
) -> None:
    """Log and count an instance's answer, or what became of the request without one.

    `received`: how many bytes the request had; the rest as in `note_relayed`.
    """
    access, now = front.access, front.seconds()
    if access is not None:
        note_relayed(access, peer, exchange, since=since, now=now, cut=cut)
    status = exchange.status or CLIENT_GONE
    counts, method = exchange.counts, exchange.head.method
    count(counts, method, status, received=received, sent=exchange.sent, now=now)
    if not cut:
        count_latency(counts, now - since)


def note_own(
    front: Front,
    peer: str,
    answer: bytes,
    head: RequestHead | None,
    exchange: Exchange | None,
    *,
    since: float,
    received: int,
    tenant: str = "",
    method: bytes = b"",
    target: bytes = b"",
) -> None:
    """Log and count an answer of our own; `exchange`: what the request was to be.

    `method` and `target` say what there is of a head that is not whole, or not right; `tenant`,
    whose token it had, where there is no exchange.
    """
    access, now = front.access, front.seconds()
    counts = front.counts.of(tenant) if exchange is None else exchange.counts
    status, code = int(answer[9:12]), code_of(answer)
    if code is not None and status not in (502, 504):
        front.counts.reject(code)
    known = None if head is None else head.method
    count(counts, known, status, received=received, sent=len(answer), now=now)
    if exchange is not None:
        count_latency(counts, now - since)
    if access is None:
        return
    seconds = now - since
    if head is None:
        access.refused(peer, method, target, answer, seconds=seconds)
        return
    began = None if exchange is None else exchange.sent_at
    access.answered(
        peer,
        head,
        answer,
        seconds=seconds,
        upstream=None if began is None else now - began,
        tenant=tenant if exchange is None else exchange.tenant,
        request_id=b"" if exchange is None else exchange.request_id,
    )
