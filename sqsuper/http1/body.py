"""Framing of bodies: which bytes of a stream are content, and where it ends (RFC 9112 6, 7)."""

from __future__ import annotations

from sqsuper.http1 import grammar
from sqsuper.http1.errors import bad_request
from sqsuper.http1.head import (
    HOP_BY_HOP,
    NOT_HOP_BY_HOP,
    body_too_large,
)
from sqsuper.http1.progress import BAD_CHUNK_LINE, ChunkLineProgress, TrailersProgress

MAX_CHUNK_LINE = 4096
MAX_EXTENSIONS = 16_384


class LengthBody:
    """A body of known length. `remaining`: bytes still to come."""

    __slots__ = ("remaining",)

    def __init__(self, length: int) -> None:
        self.remaining = length

    @property
    def done(self) -> bool:
        """Whether the body is complete."""
        return not self.remaining

    def take(self, buffer: bytearray) -> bytes:
        """Remove from the front of `buffer`, and return, what belongs to the body."""
        content = bytes(buffer[: self.remaining])
        del buffer[: len(content)]
        self.remaining -= len(content)
        return content


class EndlessBody:
    """A body that ends with its connection."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def take(self, buffer: bytearray) -> bytes:
        """Remove and return all of `buffer`. The owner sets `done` at the end of the stream."""
        content = bytes(buffer)
        del buffer[:]
        return content


_CR = 0x0D
_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkedBody:
    """A chunked body (RFC 9112 7.1): chunk extensions and trailers are checked and dropped.

    `limit`: content bytes allowed, or None (then no limit). `max_trailer_bytes`: of all
    trailer lines together. `connection_names`: lower-case names that the head's Connection
    listed; a trailer so named is refused, as are hop-by-hop and framing names.
    """

    __slots__ = (
        "_extensions",
        "_limit",
        "_line",
        "_max_trailers",
        "_phase",
        "_refused_trailers",
        "_remaining",
        "_total",
        "_trailers",
    )

    def __init__(
        self,
        limit: int | None,
        max_trailer_bytes: int,
        connection_names: frozenset[bytes] = frozenset(),
    ) -> None:
        self._limit = limit
        self._max_trailers = max_trailer_bytes
        self._refused_trailers = HOP_BY_HOP | NOT_HOP_BY_HOP | connection_names
        self._phase = _SIZE
        self._remaining = 0
        self._total = 0
        self._extensions = 0
        self._line: ChunkLineProgress | None = None
        self._trailers: TrailersProgress | None = None

    @property
    def done(self) -> bool:
        """Whether the body, its trailers included, is complete."""
        return self._phase == _DONE

    def take(self, buffer: bytearray) -> bytes:
        """Remove the body's bytes from the front of `buffer` and return their content.

        Raises FramingError (400, 413, 431) at the first byte that makes it certain; content
        before it is then lost, as nothing of such a body may be used.
        """
        pieces = []
        while self._phase != _DONE:
            if self._phase == _DATA:
                piece = bytes(buffer[: self._remaining])
                if not piece:
                    break
                del buffer[: len(piece)]
                pieces.append(piece)
                self._remaining -= len(piece)
                if self._remaining:
                    break
                self._phase = _DATA_END
            elif self._phase == _DATA_END:
                if not b"\r\n".startswith(buffer[:2]):
                    raise bad_request("a chunk's data is not followed by CRLF")
                if len(buffer) < 2:
                    break
                del buffer[:2]
                self._phase = _SIZE
            elif self._phase == _SIZE:
                if not self._size(buffer):
                    break
            elif not self._trailer_section(buffer):
                break
        return b"".join(pieces)

    def _size(self, buffer: bytearray) -> bool:
        line = self._line
        end = buffer.find(
            b"\r\n", 0 if line is None else max(0, line.position - 1), MAX_CHUNK_LINE + 2
        )
        if end < 0:
            if line is None:
                line = self._line = ChunkLineProgress()
            line.check(buffer)
            if len(buffer) > MAX_CHUNK_LINE and buffer[MAX_CHUNK_LINE] != _CR:
                raise bad_request(f"a chunk's line is over {MAX_CHUNK_LINE} bytes")
            return False
        match = grammar.chunk_line.fullmatch(buffer, 0, end)
        if match is None:
            raise bad_request(BAD_CHUNK_LINE)
        size = int(match[1], 16)
        self._extensions += len(match[2])
        if self._extensions > MAX_EXTENSIONS:
            raise bad_request(f"chunk extensions are over {MAX_EXTENSIONS} bytes together")
        del buffer[: end + 2]
        self._line = None
        self._total += size
        if self._limit is not None and self._total > self._limit:
            raise body_too_large(self._limit)
        self._remaining = size
        self._phase = _DATA if size else _TRAILERS
        return True

    def _trailer_section(self, buffer: bytearray) -> bool:
        if self._trailers is None:
            self._trailers = TrailersProgress(self._refused_trailers)
        self._trailers.check(buffer, self._max_trailers)
        if not self._trailers.ended:
            return False
        del buffer[: self._trailers.position]
        self._phase = _DONE
        return True


def encode_chunk(content: bytes) -> bytes:
    """Return `content` (not empty) as one chunk."""
    return b"%x\r\n%b\r\n" % (len(content), content)


LAST_CHUNK = b"0\r\n\r\n"
