"""What becomes of a request, from its checked head alone: relayed, or answered here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sqsuper.gateway.rewrite import connection_line
from sqsuper.http1 import answers, credentials, target
from sqsuper.http1.credentials import Grant, Rejected
from sqsuper.http1.head import RequestHead


class Gate(Protocol):
    """What a decision asks of the gateway."""

    def lookup(self, digest: bytes) -> Grant | None: ...
    def now(self) -> float:
        """Return Unix seconds."""

    def wrong_token(self, peer: str, head: RequestHead) -> int | None:
        """Count an unknown token; return None, or the seconds to wait when there were too many."""

    def health(self) -> tuple[int, bytes]:
        """Return status and JSON line of `GET /health`."""


class OwnAnswer:
    """An answer of the gateway's own. `render(keep)` gives its bytes."""

    __slots__ = ("_head", "_render")

    def __init__(self, head: RequestHead, render: Callable[[bytes], bytes]) -> None:
        """`render` gives the whole answer around a Connection line (or nothing)."""
        self._head = head
        self._render = render

    def render(self, keep: bool) -> bytes:
        return self._render(connection_line(keep, self._head.minor))


def admit(  # noqa: PLR0911 - one line a rule
    gate: Gate, peer: str, head: RequestHead
) -> Grant | OwnAnswer:
    """Decide: a grant to relay the request for, or the answer.

    Checks come in the order `OPTIONS`, `/health`, token, path.
    Raises FramingError (400) when a credential field stands twice.
    """
    if head.method == b"OPTIONS":
        return OwnAnswer(head, answers.preflight)
    if target.split(head.target)[0] == target.HEALTH:
        return _health(gate, head)
    found = credentials.candidates(head.fields)
    grant = credentials.authenticate(found, gate.lookup, gate.now())
    if isinstance(grant, Rejected):
        return _rejected(gate, peer, head, grant)
    if not grant.enabled:
        return error(head, 403, "disabled", "this tenant is switched off")
    if target.is_reload(head.target):
        return error(head, 403, "forbidden", "reload is not served here")
    if target.is_admin(head.target):
        return error(head, 404, "not_found", "the admin API has a listener of its own")
    if grant.read_only and not target.is_read_only(head.target):
        return error(head, 403, "read_only", "this token may only read")
    return grant


def error(
    head: RequestHead,
    status: int,
    code: str,
    reason: str,
    *,
    fields: Sequence[bytes] = (),
    facts: dict[str, object] | None = None,
) -> OwnAnswer:
    """Return an error answer (see `answers.error`) to the request `head`."""
    return OwnAnswer(
        head,
        lambda connection: answers.error(
            status,
            code,
            reason,
            method=head.method,
            target=head.target,
            connection=connection,
            fields=fields,
            facts=facts,
        ),
    )


def _health(gate: Gate, head: RequestHead) -> OwnAnswer:
    if head.method not in (b"GET", b"HEAD"):
        return error(
            head,
            405,
            "method_not_allowed",
            "GET, HEAD and OPTIONS are allowed here",
            fields=(b"Allow: GET, HEAD, OPTIONS\r\n",),
        )
    status, line = gate.health()

    def render(connection: bytes) -> bytes:
        start = answers.head(
            status, length=len(line), content_type=answers.JSON, connection=connection
        )
        return start if head.method == b"HEAD" else start + line

    return OwnAnswer(head, render)


def _rejected(gate: Gate, peer: str, head: RequestHead, rejected: Rejected) -> OwnAnswer:
    wait = gate.wrong_token(peer, head) if rejected.wrong else None
    if wait is None:
        return OwnAnswer(
            head,
            lambda connection: answers.unauthorized(
                method=head.method, target=head.target, connection=connection
            ),
        )
    return error(
        head,
        429,
        "too_many_wrong_tokens",
        "too many unknown tokens came from this address",
        fields=(b"Retry-After: %d\r\n" % wait,),
    )
