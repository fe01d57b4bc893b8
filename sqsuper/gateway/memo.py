"""What was found out about a head, for the next one of the very same bytes.

A client sends the same field lines with every request: checking them, finding the token and
rewriting them is then done once. The key is the exact bytes of all field lines; the request
line is no part of it and is checked each time, as is the validity of the token. The heads of
an instance's answers repeat likewise.
"""

from __future__ import annotations

from sqsuper.gateway.rewrite import upstream_lines
from sqsuper.http1.credentials import Grant
from sqsuper.http1.head import RequestHead, ResponseHead
from sqsuper.http1.repeating import MAX_BLOCK_BYTES, repeating_lines

MAX_ENTRIES = 1024

_NO_BODY = frozenset({204, 304})


class AdmittedHead(RequestHead):
    """A request's head whose field lines admitted one before.

    `grant`: whom the token admits, as long as it is valid. `lines`: the field lines as an
    instance gets them, less its key and what depends on the method. `paths`: some that the
    grant was found to open, and that are the instance's to answer (of a remembered head alone).
    """

    __slots__ = ("grant", "lines", "paths")

    grant: Grant
    lines: bytes
    paths: set[bytes]

    def again(self, method: bytes, target: bytes) -> AdmittedHead:
        """See `RequestHead.again`."""
        other = AdmittedHead()
        other.method = method
        other.target = target
        other.minor = 1
        other.fields = self.fields
        other.content_length = self.content_length
        other.chunked = False
        other.expects_continue = False
        other.keep_alive = self.keep_alive
        other.connection_names = self.connection_names
        other.grant = self.grant
        other.lines = self.lines
        return other


class KnownRequests:
    """Admitted heads by their field lines: at most `MAX_ENTRIES`, the oldest goes first.

    It must be emptied (`clear`) whenever what tokens admit to has changed.
    """

    __slots__ = ("_max_entries", "heads")

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self.heads: dict[bytes, AdmittedHead] = {}
        self._max_entries = max_entries

    def keep(self, head: RequestHead, grant: Grant) -> None:
        """Remember, if that is safe and worth it, the lines of a head that `grant` admitted."""
        block = repeating_lines(head, may_close=True)
        if block is None:
            return
        admitted = AdmittedHead()
        admitted.fields = head.fields
        admitted.content_length = head.content_length
        admitted.keep_alive = head.keep_alive
        admitted.connection_names = head.connection_names
        admitted.grant = grant
        admitted.lines = upstream_lines(head)
        admitted.paths = set()
        if len(self.heads) >= self._max_entries:
            del self.heads[next(iter(self.heads))]
        self.heads[block] = admitted

    def clear(self) -> None:
        """Forget everything."""
        self.heads.clear()


class KnownAnswer:
    """An answer's checked head, and `rewrite.client_lines` of it.

    `status`; `length`: of the body; `kept`: whether the instance's connection is, after it.
    `counted_at`: where such answers are counted (see `statistics`).
    """

    __slots__ = ("counted_at", "head", "kept", "length", "lines", "status")

    def __init__(self, head: ResponseHead, lines: bytes) -> None:
        self.head = head
        self.lines = lines
        self.length = head.content_length
        self.kept = head.keep_alive
        self.status = head.status
        self.counted_at = head.status // 100 - 1


class KnownAnswers:
    """Answers' heads by their exact bytes: at most `MAX_ENTRIES`, the oldest goes first."""

    __slots__ = ("_answers", "_max_entries", "find")

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._answers: dict[bytes, KnownAnswer] = {}
        self._max_entries = max_entries
        # Given the bytes up to and with the empty line that ends the head.
        self.find = self._answers.get

    def keep(self, raw: bytes, head: ResponseHead, lines: bytes) -> None:
        """Remember the head that `raw` holds, if that is worth it: the body's length is known.

        It must be a final one; what would be refused must not be given, as it is not looked at
        again.
        """
        if len(raw) > MAX_BLOCK_BYTES or head.content_length is None or head.status in _NO_BODY:
            return
        if len(self._answers) >= self._max_entries:
            del self._answers[next(iter(self._answers))]
        self._answers[raw] = KnownAnswer(head, lines)
