"""Who may ask what: decided by a request's head, before its body is read."""

from __future__ import annotations

from sqsuper.engine.errors import EngineError, PreconditionError, WrongMethodError
from sqsuper.engine.known import KnownHead
from sqsuper.http1 import answers, credentials
from sqsuper.http1 import target as targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.service import Service
    from sqsuper.http1.head import RequestHead


def admit(
    service: Service, head: RequestHead, address: str | None, connection: bytes
) -> bytes | None:
    """Return None, or the whole answer that refuses: token first, then path and method.

    `address`: where the client is, for counting its guesses; None: the gateway, which counts
    itself. `connection`: the Connection line that a refusal carries. Raises FramingError (400) when
    a credential field stands twice.
    """
    who: credentials.Grant | credentials.Rejected | None = None
    now = service.wall_clock()
    if isinstance(head, KnownHead):
        who = service.lookup(head.digest)
        if who is not None and not who.valid_at(now):
            who = None
    if who is None:
        who = credentials.authenticate(credentials.candidates(head.fields), service.lookup, now)
        if not isinstance(who, credentials.Rejected):
            service.known.keep(head)
    if isinstance(who, credentials.Rejected):
        wait = None
        if who.wrong and address is not None:
            # Known tokens are served as ever: an address may be shared.
            wait = service.guesses.wrong(address, service.loop.now)
        if wait is not None:
            return answers.error(
                429,
                "too_many_wrong_tokens",
                "too many unknown tokens came from this address",
                method=head.method,
                target=head.target,
                connection=connection,
                fields=(b"Retry-After: %d\r\n" % wait,),
            )
        return answers.unauthorized(method=head.method, target=head.target, connection=connection)
    if targets.is_reload(head.target):
        return _forbidden("forbidden", "reload is not served here", head, connection)
    if who.read_only and not targets.is_read_only(head.target):
        return _forbidden("read_only", "this token may only read", head, connection)
    try:
        service.api.check_path(head.method, head.target)
    except EngineError as error:
        return render_error(error, head, connection)
    return None


def render_error(error: EngineError, head: RequestHead, connection: bytes) -> bytes:
    """Return the whole answer that reports an error of the engine."""
    fields: tuple[bytes, ...] = ()
    if isinstance(error, WrongMethodError):
        fields = (b"Allow: %b\r\n" % ", ".join(error.allowed).encode("ascii"),)
    elif isinstance(error, PreconditionError):
        fields = (b"ETag: %b\r\n" % error.etag,)
    return answers.error(
        error.status,
        error.code,
        str(error),
        method=head.method,
        target=head.target,
        connection=connection,
        fields=fields,
    )


def _forbidden(code: str, reason: str, head: RequestHead, connection: bytes) -> bytes:
    return answers.error(
        403, code, reason, method=head.method, target=head.target, connection=connection
    )
