"""What the API answers, before it is HTTP."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqsuper.engine.errors import EngineError

TEXT = b"text/plain; charset=utf-8"
# Texts up to this are made whole; longer ones as they are sent.
WHOLE_BYTES = 262_144


class Answer:
    """A body of known length, or an error.

    `status`: HTTP status. `content_type`: None for no such field. `length`: of the body in
    bytes. `body`: the bytes, unless `pieces` gives them (an iterator, used once). `error`:
    the error that is answered instead; then there is no body.
    """

    __slots__ = ("body", "content_type", "error", "length", "pieces", "status")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: bytes | None = TEXT,
        pieces: Iterator[bytes] | None = None,
        length: int | None = None,
        error: EngineError | None = None,
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body
        self.pieces = pieces
        self.length = len(body) if length is None else length
        self.error = error


def failure(error: EngineError) -> Answer:
    """Return the answer that reports an error."""
    return Answer(status=error.status, error=error)


def streamed(make: Callable[[], Iterator[bytes]], length: int | None = None) -> Answer:
    """Return an answer of a text in pieces, which every call of `make` gives alike.

    `length`: its bytes, or None to have it measured.
    """
    if length is None:
        length = sum(map(len, make()))
    if length <= WHOLE_BYTES:
        return Answer(b"".join(make()))
    return Answer(pieces=make(), length=length)
