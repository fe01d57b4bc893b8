"""What the API answers, before it is HTTP."""

from __future__ import annotations

from sqsuper.http1 import answers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqsuper.engine.errors import EngineError
    from sqsuper.engine.files import OpenFile, ReadFile

TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"


class Answer:
    """A body of known length, or an error.

    `status`: HTTP status. `content_type`: None for no such field. `length`: of the body in
    bytes, None for an answer that has none by its status. `body`: the bytes, unless `pieces`
    gives them (an iterator, used once), or `file`, an open one, holds them. `etag`: an entity
    tag, or None. `error`: the error that is answered instead; then there is no body. `after`:
    the group of the journal that must be durable before this is shown, or 0; `name`: of the
    phext that it is about. `key`: of its scroll whose text this is, where nothing but the
    parameters and that text decided; else None.
    """

    __slots__ = (
        "after",
        "body",
        "content_type",
        "error",
        "etag",
        "file",
        "key",
        "length",
        "name",
        "pieces",
        "status",
    )

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: bytes | None = TEXT,
        pieces: Iterator[bytes] | None = None,
        file: OpenFile | ReadFile | None = None,
        length: int | None = None,
        etag: bytes | None = None,
        error: EngineError | None = None,
        after: int = 0,
        name: str = "",
        key: int | None = None,
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body
        self.pieces = pieces
        self.file = file
        self.length: int | None = len(body) if length is None else length
        self.etag = etag
        self.error = error
        self.after = after
        self.name = name
        self.key = key

    def head(self, connection: bytes) -> bytes:
        """Return the answer's head; `connection`: its Connection line."""
        kind = self.status, self.content_type, connection
        start = _STARTS.get(kind)
        if start is None:
            whole = answers.head(
                self.status, length=None, content_type=self.content_type, connection=connection
            )
            start = _STARTS[kind] = whole[:-2]
        length = b"" if self.length is None else b"Content-Length: %d\r\n" % self.length
        if self.etag is None:
            return b"%b%b\r\n" % (start, length)
        return b"%b%bETag: %b\r\n\r\n" % (start, length, self.etag)


# All of a head that does not differ from answer to answer; there are few kinds.
_STARTS: dict[tuple[int, bytes | None, bytes], bytes] = {}


def failure(error: EngineError, after: int = 0, name: str = "") -> Answer:
    """Return the answer that reports an error."""
    return Answer(status=error.status, error=error, after=after, name=name)


def unchanged(etag: bytes, after: int, name: str) -> Answer:
    """Return the answer to a conditional read of what the client has (304)."""
    answer = Answer(status=304, content_type=None, etag=etag, after=after, name=name)
    answer.length = None
    return answer
