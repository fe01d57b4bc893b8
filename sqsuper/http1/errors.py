"""Why a message is refused."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class FramingError(Exception):
    """A message that must be refused: nothing of it, nor of what follows it, may be acted on.

    `status`: HTTP status of the answer; `code`: machine code (`X-SQ-Code`);
    `reason`: one ASCII line for people; `fields`: whole field lines (with CRLF) the answer
    carries besides the usual ones.
    """

    def __init__(self, status: int, code: str, reason: str, fields: Sequence[bytes] = ()) -> None:
        super().__init__(status, code, reason)
        self.status = status
        self.code = code
        self.reason = reason
        self.fields = tuple(fields)

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.reason}"


def bad_request(reason: str) -> FramingError:
    """Return the error for a message that breaks the grammar or a framing rule (400)."""
    return FramingError(400, "bad_request", reason)
