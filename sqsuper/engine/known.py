"""What was found out about a request's field lines, for the next one of the very same bytes."""

from __future__ import annotations

from sqsuper.http1.credentials import candidates, digest, is_token
from sqsuper.http1.head import RequestHead
from sqsuper.http1.repeating import repeating_lines

MAX_ENTRIES = 256


class KnownHead(RequestHead):
    """A head whose field lines admitted one before. `digest`: of its one token."""

    __slots__ = ("digest",)

    digest: bytes

    def again(self, method: bytes, target: bytes) -> KnownHead:
        """See `RequestHead.again`."""
        other = KnownHead()
        other.method = method
        other.target = target
        other.minor = 1
        other.fields = self.fields
        other.content_length = self.content_length
        other.chunked = False
        other.expects_continue = False
        other.keep_alive = True
        other.connection_names = self.connection_names
        other.digest = self.digest
        return other


class KnownHeads:
    """Admitted heads by their field lines: at most `MAX_ENTRIES`, the oldest goes first.

    Whether the token is still known and valid is asked again each time.
    """

    __slots__ = ("heads",)

    def __init__(self) -> None:
        self.heads: dict[bytes, RequestHead] = {}

    def keep(self, head: RequestHead) -> None:
        """Remember, if that is safe and worth it, the lines of a head that was admitted."""
        block = repeating_lines(head)
        tokens = [] if block is None else candidates(head.fields)
        if block is None or len(tokens) != 1 or not is_token(tokens[0]):
            return
        known = KnownHead()
        known.fields = head.fields
        known.content_length = head.content_length
        known.connection_names = head.connection_names
        known.digest = digest(tokens[0])
        if len(self.heads) >= MAX_ENTRIES:
            del self.heads[next(iter(self.heads))]
        self.heads[block] = known
