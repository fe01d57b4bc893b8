"""Scroll text as requests bring it: UTF-8, without delimiters or spliced at them.

Each check is there twice: at once, and, for texts over `LARGE_BYTES`, as steps (an iterator that
pauses about every millisecond), since the whole of a body may be 60 MB.
"""

from __future__ import annotations

from sqsuper.engine import phext
from sqsuper.engine.errors import (
    BadTextError,
    DelimiterInTextError,
    SpliceOverflowError,
    TooManyPiecesError,
)
from sqsuper.engine.utf8 import utf8_fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.turns import Job

LARGE_BYTES = 1 << 20
# They are stored together, at one moment, while nobody else is answered.
MAX_PIECES = 250_000
_STEP_BYTES = 1 << 20
# Pieces of a spliced text between two pauses.
_STEP_PIECES = 1024


def check_utf8(text: bytes) -> None:
    """Raise BadTextError if `text` is not UTF-8."""
    fault = utf8_fault(text)
    if fault is not None:
        raise BadTextError(fault)


def checking_utf8(text: bytes) -> Job[None]:
    """Do what `check_utf8` does, in steps."""
    start = 0
    while start < len(text):
        end = _boundary(text, start + _STEP_BYTES)
        fault = utf8_fault(text[start:end])
        if fault is not None:
            raise BadTextError(start + fault)
        start = end
        yield None


def _boundary(text: bytes, end: int) -> int:
    # Of a character that begins before `end` and goes on behind it, no byte belongs to the piece.
    for before in range(min(end, len(text)), max(0, end - 4), -1):
        if before == len(text) or text[before] & 0xC0 != 0x80:
            return before
    return end


def check_single(text: bytes) -> None:
    """Raise DelimiterInTextError if `text` is more than one scroll's."""
    _check_break(text, phext.find_break(text))


def checking_single(text: bytes) -> Job[None]:
    """Do what `check_single` does, in steps."""
    for start in range(0, len(text), _STEP_BYTES):
        _check_break(text, phext.find_break(text, start, start + _STEP_BYTES))
        yield None


def _check_break(text: bytes, offset: int) -> None:
    if offset >= 0:
        delimiter = text[offset]
        raise DelimiterInTextError(offset, delimiter, phext.dimension_of(delimiter))


def splice(text: bytes, key: int) -> dict[int, bytes]:
    """Return the scrolls of `text`, taken as a phext that begins at `key`.

    Empty pieces are no scrolls; a text of none at all is one empty scroll at `key`. Raises
    SpliceOverflowError if a delimiter leads past 999, TooManyPiecesError.
    """
    pieces: dict[int, bytes] = {}
    for _ in splicing(text, key, pieces):
        pass
    return pieces


def splicing(text: bytes, key: int, pieces: dict[int, bytes]) -> Job[None]:
    """Do what `splice` does, in steps; the scrolls come into `pieces`."""
    if not text:
        pieces[key] = b""
        return
    start = count = 0
    while True:
        end = phext.find_break(text, start)
        piece = text[start:] if end < 0 else text[start:end]
        if piece:
            if len(pieces) >= MAX_PIECES:
                raise TooManyPiecesError(MAX_PIECES)
            pieces[key] = piece
        if end < 0:
            return
        delimiter = text[end]
        if phext.overflows(key, delimiter):
            raise SpliceOverflowError(end, phext.dimension_of(delimiter))
        key = phext.advance(key, delimiter)
        start = end + 1
        count += 1
        if not count % _STEP_PIECES or len(piece) > _STEP_BYTES:
            yield None
