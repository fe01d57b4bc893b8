"""What the access log is told of a request, and of an answer of the gateway's own."""

from __future__ import annotations

from typing import Protocol

from sqsuper.gateway.accesslog import CLIENT_GONE, AccessLog
from sqsuper.http1.head import RequestHead


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


def note_own(
    access: AccessLog,
    peer: str,
    head: RequestHead,
    answer: bytes,
    relayed: Relayed | None,
    *,
    since: float,
    now: float,
    tenant: str,
) -> None:
    """Note an answer of our own to a request with a whole head; `relayed`: what it was to be."""
    began = None if relayed is None else relayed.sent_at
    access.answered(
        peer,
        head,
        answer,
        seconds=now - since,
        upstream=None if began is None else now - began,
        tenant=tenant if relayed is None else relayed.tenant,
        request_id=b"" if relayed is None else relayed.request_id,
    )
