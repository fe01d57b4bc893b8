"""Selects that come again byte for byte: one look at the memo, one at the scroll, one send.

What a head means is found out once. What may have changed since is asked each time: whether its
token is known and valid, whether the phext is loaded, its scroll's text, and whether all writes
to it are durable. Where an answer is not plain, there is none here: the request then goes the
ordinary way.
"""

from __future__ import annotations

import re

from sqsuper.engine.answer import Answer
from sqsuper.engine.conditions import etag
from sqsuper.engine.known import MAX_ENTRIES, KnownHead
from sqsuper.http1 import answers
from sqsuper.http1.repeating import MAX_BLOCK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sqsuper.engine.commits import Commits
    from sqsuper.engine.store import Store
    from sqsuper.http1.credentials import Grant
    from sqsuper.http1.head import RequestHead

# Answers to longer texts are not kept; longer ones still are made the ordinary way.
_KEPT_BYTES = 2048
_WHOLE_BYTES = 65_536
# Of a method, a target and the lines behind them, with room for a request's number.
_HEAD_BYTES = 2 * MAX_BLOCK_BYTES
# So that a further line, the request's number, is never one too many.
_MOST_LINES = 64

_GET = 0x47
_ID = b"\r\nX-Request-ID: "
# As the gateway writes it, and what may stand in its place.
_ID_LINE = re.compile(rb"\r\nX-Request-ID: [!-~]{1,128}(?=\r\n)")


class Repeat:
    """What one head asks for: the scroll `key` of the phext `name`, for the token of `digest`.

    `text`, `whole`: a text that it had, and the whole answer that gives it.
    """

    __slots__ = ("content_type", "digest", "key", "name", "text", "whole")

    def __init__(self, digest: bytes, name: str, key: int, content_type: bytes | None) -> None:
        self.digest = digest
        self.name = name
        self.key = key
        self.content_type = content_type
        self.text: bytes | None = None
        self.whole = b""


class Repeats:
    """Heads of selects that were admitted: at most `MAX_ENTRIES`, the oldest goes first.

    `max_head_bytes`: over it no head is taken. `lookup`: finds a grant by a token's digest.
    `wall_clock`: Unix seconds.
    """

    __slots__ = ("_commits", "_heads", "_longest", "_lookup", "_named", "_wall_clock")

    def __init__(
        self,
        store: Store,
        commits: Commits,
        max_head_bytes: int,
        *,
        lookup: Callable[[bytes], Grant | None],
        wall_clock: Callable[[], float],
    ) -> None:
        self._named = store.residents.named
        self._commits = commits
        self._longest = min(max_head_bytes, _HEAD_BYTES)
        self._lookup = lookup
        self._wall_clock = wall_clock
        self._heads: dict[bytes, Repeat] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def forget(self, max_head_bytes: int) -> None:
        """Begin anew, with another limit: what heads mean may have changed."""
        self._longest = min(max_head_bytes, _HEAD_BYTES)
        self._heads.clear()

    def answer(self, data: bytes) -> bytes | None:
        """Return the whole answer to `data` if that is just one head that is known.

        The connection must be one that is kept. Raises nothing.
        """
        if data[0] != _GET or len(data) > self._longest:
            return None
        repeat = self._heads.get(data)
        if repeat is None:
            repeat = self._numbered(data)
            if repeat is None:
                return None
        grant = self._lookup(repeat.digest)
        if grant is None or not (grant.is_lasting or grant.valid_at(self._wall_clock())):
            return None
        phext = self._named(repeat.name)
        if phext is None or not self._commits.is_durable(phext.group):
            return None
        text = phext.document.get(repeat.key)
        return repeat.whole if text is repeat.text else self._whole(repeat, text)

    def _numbered(self, data: bytes) -> Repeat | None:
        """Return what is known of a head that has the request's number besides."""
        at = data.find(_ID)
        line = None if at < 0 else _ID_LINE.match(data, at)
        # Behind an empty line it is no field of this head.
        if line is None or data.startswith(b"\r\n", at - 2):
            return None
        return self._heads.get(data[:at] + data[line.end() :])

    def keep(self, head: RequestHead, answer: Answer) -> None:
        """Remember a head that got `answer`, if that is safe."""
        if (
            answer.key is None
            or head.method != b"GET"
            or not isinstance(head, KnownHead)
            or len(head.fields) > _MOST_LINES
            or self._named(answer.name) is None
        ):
            return
        raw = b"GET %b HTTP/1.1\r\n%b\r\n" % (head.target, head.block)
        if len(raw) > self._longest or raw in self._heads:
            return
        if len(self._heads) >= MAX_ENTRIES:
            del self._heads[next(iter(self._heads))]
        self._heads[raw] = Repeat(head.digest, answer.name, answer.key, answer.content_type)

    @staticmethod
    def _whole(repeat: Repeat, text: bytes) -> bytes | None:
        if len(text) > _WHOLE_BYTES:
            return None
        answer = Answer(text, content_type=repeat.content_type, etag=etag(text))
        whole = answer.head(answers.KEEP_ALIVE) + text
        if len(text) <= _KEPT_BYTES:
            repeat.text = text
            repeat.whole = whole
        else:
            repeat.text = None
        return whole
