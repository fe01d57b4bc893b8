"""A request as the API takes it."""

from __future__ import annotations

from sqsuper.engine.query import Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqsuper.http1.head import Field


class Request:
    """One request.

    `method` and `target` as sent; `body`: its whole content; `connection`: the number of the
    connection it came on; `fields`: its head's.
    """

    __slots__ = ("body", "connection", "fields", "method", "query", "target")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        body: bytes = b"",
        connection: int = 0,
        fields: Iterable[Field] = (),
    ) -> None:
        self.fields = fields
        self.method = method
        self.target = target
        self.body = body
        self.connection = connection
        self.query = Query(b"")

    @property
    def text(self) -> bytes:
        """The scroll text: a POST's body, or `s` where there is none. Not checked."""
        if self.method == b"POST" and self.body:
            return self.body
        return self.query.raw(b"s") or b""
