"""Which field lines may be recognised when they come again, byte for byte."""

from __future__ import annotations

from sqsuper.http1.credentials import CREDENTIAL_FIELDS
from sqsuper.http1.head import HOP_BY_HOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.http1.head import RequestHead

MAX_BLOCK_BYTES = 2048

# Lines with one of these mean something for this one connection or request alone, or differ
# every time. (The form of a body that a Content-Length announces is the same for equal lines.)
_NEVER = (HOP_BY_HOP - {b"connection"}) | {
    b"transfer-encoding",
    b"expect",
    b"http2-settings",
    b"x-request-id",
}
# What Connection may say: many clients say it each time, and in HTTP/1.1 it changes nothing.
_SAYS_NOTHING = frozenset({b"keep-alive"})
_MAY_CLOSE = frozenset({b"keep-alive", b"close"})


def repeating_lines(head: RequestHead, may_close: bool = False) -> bytes | None:
    """Return all field lines of `head` as they came, or None if they are not to be remembered.

    They are when they mean the same for every HTTP/1.1 request that has them, are at most
    `MAX_BLOCK_BYTES` long, and hold just one credential: what two admit to together changes
    with the time. `may_close`: also lines by which the client sends no further request, so that
    `keep_alive` is theirs to be remembered.
    """
    if head.minor != 1:
        return None
    if not head.connection_names <= (_MAY_CLOSE if may_close else _SAYS_NOTHING):
        return None
    credentials = 0
    block = b""
    for name, _, line in head.fields:
        if name in _NEVER or len(block) > MAX_BLOCK_BYTES:
            return None
        credentials += name in CREDENTIAL_FIELDS
        block += line
    return block if credentials == 1 and len(block) <= MAX_BLOCK_BYTES else None
