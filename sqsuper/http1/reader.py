"""Finds whole heads in a stream of bytes and refuses a wrong one at its first wrong byte."""

from __future__ import annotations

from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import (
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)
from sqsuper.http1.progress import MAX_FIELD_LINES, REQUEST, HeadProgress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.http1.head import Known

_CR = 0x0D

DEFAULT_MAX_HEAD_BYTES = 65_536
DEFAULT_MAX_BODY_BYTES = 67_108_864


class RequestReader:
    """Takes request heads off the front of `buffer`, which its owner fills.

    The owner appends received bytes to `buffer`, calls `head` until it gets None, and, after
    each head, takes the body off `buffer` (see `sqsuper.http1.body`) before the next call.
    """

    __slots__ = ("_known", "_limit", "_max_body", "_max_lines", "_progress", "_skipped", "buffer")

    def __init__(
        self,
        max_head_bytes: int = DEFAULT_MAX_HEAD_BYTES,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        known: Known | None = None,
        max_field_lines: int = MAX_FIELD_LINES,
    ) -> None:
        """`known`: see `parse_request_head`; its owner may add to it and empty it."""
        self.buffer = bytearray()
        self._known = known
        self._limit = max_head_bytes
        self._max_body = max_body_bytes
        self._max_lines = max_field_lines
        self._progress: HeadProgress | None = None
        self._skipped = False

    def limit(self, max_head_bytes: int, max_body_bytes: int) -> None:
        """Hold the next heads, and the one that is being read, to other limits."""
        self._limit = max_head_bytes
        self._max_body = max_body_bytes

    @property
    def started(self) -> bool:
        """Whether bytes of a next request have come (an empty line skipped included)."""
        return bool(self.buffer) or self._skipped

    def head(self) -> RequestHead | None:
        """Return the next head and remove it from `buffer`, or None if more bytes are needed.

        Raises FramingError as soon as the bytes there are make a refusal certain. `buffer` is
        then left as it is and the reader must not be used again.
        """
        buffer = self.buffer
        # RFC 9112 2.2: one empty line before the request line is skipped; a second one is
        # refused, so that endless empty lines cannot hold a connection.
        if not self._skipped and buffer.startswith(b"\r\n"):
            del buffer[:2]
            self._skipped = True
        if not buffer:
            return None
        progress = self._progress
        end = buffer.find(b"\r\n\r\n", 0 if progress is None else progress.resume)
        if end < 0 or end + 4 > self._limit:
            if not self._skipped and buffer == b"\r":
                return None
            if progress is None:
                progress = self._progress = HeadProgress(REQUEST, self._max_lines)
            progress.check(buffer, self._limit)
            return None
        raw = bytes(buffer[: end + 2])
        head = parse_request_head(
            raw,
            max_body_bytes=self._max_body,
            known=self._known,
            max_field_lines=self._max_lines,
        )
        del buffer[: end + 4]
        self._progress = None
        self._skipped = False
        return head

    def target(self) -> bytes:
        """Return what stands where the target should, of the head at the front of `buffer`.

        Best effort, for the form of a refusal: empty when there is none.
        """
        words = bytes(self.buffer[: self._limit].partition(b"\r\n")[0]).split(b" ", 2)
        return words[1] if len(words) > 1 else b""

    def method(self) -> bytes:
        """Return what stands where the method should; otherwise as `target`."""
        return bytes(self.buffer[:16].partition(b" ")[0])


class ResponseReader:
    """Takes answers' heads off the front of `buffer`; otherwise as `RequestReader`."""

    __slots__ = ("_limit", "_seen", "buffer")

    def __init__(self, max_head_bytes: int = DEFAULT_MAX_HEAD_BYTES) -> None:
        self.buffer = bytearray()
        self._limit = max_head_bytes
        self._seen = 0

    def head(self) -> ResponseHead | None:
        """Return the next head and remove it from `buffer`, or None if more bytes are needed.

        Raises FramingError (502): malformed, or over the limit.
        """
        buffer = self.buffer
        end = buffer.find(b"\r\n\r\n", max(0, self._seen - 3))
        if (len(buffer) if end < 0 else end + 4) > self._limit:
            raise FramingError(502, "bad_answer", "the answer's head is too large")
        if end < 0:
            # LF alone would never end the head: no reason to wait for the timeout.
            if _has_bare_lf(buffer, self._seen):
                raise FramingError(502, "bad_answer", "a LF without CR in the answer's head")
            self._seen = len(buffer)
            return None
        head = parse_response_head(bytes(buffer[: end + 2]))
        del buffer[: end + 4]
        self._seen = 0
        return head


def _has_bare_lf(buffer: bytearray, start: int) -> bool:
    position = buffer.find(b"\n", start)
    while position >= 0:
        if position == 0 or buffer[position - 1] != _CR:
            return True
        position = buffer.find(b"\n", position + 1)
    return False
