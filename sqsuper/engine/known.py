"""What was found out about a request's field lines, for the next one of the very same bytes."""

from __future__ import annotations

import re

from sqsuper.http1.credentials import candidates, digest, is_token
from sqsuper.http1.head import RequestHead
from sqsuper.http1.repeating import repeating_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.http1.head import Field

MAX_ENTRIES = 1024
# Lines that may be one more with the request's number, which is not counted here.
_MOST_LINES = 64
_ID = b"x-request-id"
# The gateway's spelling of it, wherever it stands.
_ID_LINE = re.compile(rb"(?:^|(?<=\r\n))X-Request-ID: [!-~]{1,128}\r\n")


class KnownHead(RequestHead):
    """A head whose field lines admitted one before.

    `digest`: of its one token. `block`: the lines as they came, less the request's number.
    """

    __slots__ = ("block", "digest")

    block: bytes
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
        other.block = self.block
        other.digest = self.digest
        return other


class KnownHeads:
    """Admitted heads by their field lines: at most `MAX_ENTRIES`, the oldest goes first.

    A request's number (X-Request-ID), which differs each time and means nothing here, is no
    part of them. Whether the token is still known and valid is asked again each time.
    """

    __slots__ = ("_heads",)

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def forget(self) -> None:
        """Begin anew: what is admitted may have changed."""
        self._heads.clear()

    def get(self, block: bytes) -> KnownHead | None:
        """Return the head that had these lines, or None."""
        known = self._heads.get(block)
        if known is None:
            line = _ID_LINE.search(block)
            if line is not None:
                known = self._heads.get(block[: line.start()] + block[line.end() :])
        return known

    def keep(self, head: RequestHead) -> None:
        """Remember, if that is safe and worth it, the lines of a head that was admitted."""
        if len(head.fields) > _MOST_LINES:
            return
        same = head.again(head.method, head.target)
        same.fields = _without_id(head.fields)
        block = repeating_lines(same)
        tokens = [] if block is None else candidates(same.fields)
        if block is None or len(tokens) != 1 or not is_token(tokens[0]):
            return
        known = KnownHead()
        known.fields = same.fields
        known.content_length = head.content_length
        known.connection_names = head.connection_names
        known.block = block
        known.digest = digest(tokens[0])
        if len(self._heads) >= MAX_ENTRIES:
            del self._heads[next(iter(self._heads))]
        self._heads[block] = known


def _without_id(fields: list[Field]) -> list[Field]:
    # The first that `get` would leave out, and no other.
    for index, (name, _value, line) in enumerate(fields):
        if name == _ID and _ID_LINE.fullmatch(line):
            return fields[:index] + fields[index + 1 :]
    return fields
