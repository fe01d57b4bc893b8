"""What becomes of a request, from its checked head alone: relayed, or answered here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from sqsuper.gateway.failure import Failure
from sqsuper.gateway.memo import AdmittedHead, KnownRequests
from sqsuper.gateway.rate import Bucket
from sqsuper.gateway.rewrite import connection_line
from sqsuper.http1 import answers, credentials, target
from sqsuper.http1.credentials import Grant, Rejected
from sqsuper.http1.head import RequestHead
from sqsuper.instances import Full


class Gate(Protocol):
    """What a decision asks of the gateway."""

    known_requests: KnownRequests

    @property
    def rates(self) -> Mapping[str, Bucket]:
        """Return the buckets of the tenants that have a rate."""

    @property
    def full(self) -> Mapping[str, Full]:
        """Return why the data of tenants must not grow, of those where that is so."""

    def lookup(self, digest: bytes) -> Grant | None: ...
    def seconds(self) -> float: ...
    def now(self) -> float:
        """Return Unix seconds."""

    def wrong_token(self, peer: str, head: RequestHead) -> int | None:
        """Count an unknown token; return None, or the seconds to wait when there were too many."""

    def health(self) -> tuple[int, bytes]:
        """Return status and JSON line of `GET /health`."""


class OwnAnswer:
    """An answer of the gateway's own. `render(keep)` gives its bytes."""

    __slots__ = ("_head", "_render", "tenant")

    def __init__(
        self, head: RequestHead, render: Callable[[bytes], bytes], tenant: str = ""
    ) -> None:
        """`render` gives the whole answer around a Connection line (or nothing).

        `tenant`: whose token the request has, as far as that was found out.
        """
        self.tenant = tenant
        self._head = head
        self._render = render

    def render(self, keep: bool) -> bytes:
        return self._render(connection_line(keep, self._head.minor))


def admit(gate: Gate, peer: str, head: RequestHead) -> Grant | OwnAnswer:
    """Decide: a grant to relay the request for, or the answer.

    Checks come in the order `OPTIONS`, `/health`, token, path, rate: what is refused before
    takes nothing of the tenant's rate.
    Raises FramingError (400) when a credential field stands twice.
    """
    if head.method == b"OPTIONS":
        return OwnAnswer(head, answers.preflight)
    if target.split(head.target)[0] == target.HEALTH:
        return _health(gate, head)
    now = gate.now()
    grant: Grant | Rejected
    if type(head) is AdmittedHead and head.grant.valid_at(now):
        grant = head.grant
    else:
        found = credentials.candidates(head.fields)
        grant = credentials.authenticate(found, gate.lookup, now)
        if isinstance(grant, Rejected):
            return _rejected(gate, peer, head, grant)
        gate.known_requests.keep(head, grant)
    barrier = barred(grant, head.target)
    if barrier is not None:
        return error(head, *barrier, tenant=grant.tenant)
    full = gate.full.get(grant.tenant)
    if full is not None and target.is_growing(target.split(head.target)[0]):
        return error(head, 507, full.code, full.reason, tenant=grant.tenant)
    bucket = gate.rates.get(grant.tenant)
    wait = None if bucket is None else bucket.take(gate.seconds())
    return grant if wait is None else _too_many(head, grant.tenant, wait)


def _too_many(head: RequestHead, tenant: str, wait: int) -> OwnAnswer:
    return error(
        head,
        429,
        "rate_limited",
        "this tenant makes too many requests",
        fields=(b"Retry-After: %d\r\n" % wait,),
        tenant=tenant,
    )


# Status, code and reason of a refusal.
Barrier = tuple[int, str, str]

_DISABLED = (403, "disabled", "this tenant is switched off")
_RELOAD = (403, "forbidden", "reload is not served here")
_ADMIN = (404, "not_found", "the admin API has a listener of its own")
_READ_ONLY = (403, "read_only", "this token may only read")


def barred(grant: Grant, asked: bytes) -> Barrier | None:
    """Return why a grant that is valid does not open the target `asked`; None: it does."""
    if not grant.enabled:
        return _DISABLED
    path = target.split(asked)[0]
    barrier = (_known_path if len(path) <= MAX_KEPT_PATH else _not_for_tenants)(path)
    if barrier is None and grant.read_only and not target.is_read_only(asked):
        return _READ_ONLY
    return barrier


def _not_for_tenants(path: bytes) -> Barrier | None:
    """Return why a path is for no tenant's instance, whoever asks."""
    if target.is_reload(path):
        return _RELOAD
    return _ADMIN if target.is_admin(path) else None


# There are few paths, and each is asked for again and again.
MAX_KEPT_PATH = 256
_known_path = lru_cache(maxsize=256)(_not_for_tenants)


def error(
    head: RequestHead,
    status: int,
    code: str,
    reason: str,
    *,
    fields: Sequence[bytes] = (),
    facts: dict[str, object] | None = None,
    tenant: str = "",
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
        tenant,
    )


def failed(head: RequestHead, failure: Failure, request_id: bytes) -> OwnAnswer:
    """Return the answer to a request that ends without its instance's."""
    facts: dict[str, object] = {"request_id": request_id.decode("ascii")}
    if failure.executed_unknown:
        facts["executed"] = "unknown"
    if failure.cause is not None:
        facts["cause"] = failure.cause
    fields = [b"X-Request-ID: %b\r\n" % request_id]
    if failure.retry_after is not None:
        fields.append(b"Retry-After: %d\r\n" % failure.retry_after)
    return error(head, failure.status, failure.code, failure.reason, fields=fields, facts=facts)


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
