"""Scroll text as requests bring it: UTF-8, without delimiters or spliced at them."""

from __future__ import annotations

from sqsuper.engine import phext
from sqsuper.engine.errors import BadTextError, DelimiterInTextError, SpliceOverflowError
from sqsuper.engine.utf8 import utf8_fault


def check_utf8(text: bytes) -> None:
    """Raise BadTextError if `text` is not UTF-8."""
    fault = utf8_fault(text)
    if fault is not None:
        raise BadTextError(fault)


def check_single(text: bytes) -> None:
    """Raise DelimiterInTextError if `text` is more than one scroll's."""
    offset = phext.find_break(text)
    if offset >= 0:
        delimiter = text[offset]
        raise DelimiterInTextError(offset, delimiter, phext.dimension_of(delimiter))


def splice(text: bytes, key: int) -> dict[int, bytes]:
    """Return the scrolls of `text`, taken as a phext that begins at `key`.

    Empty pieces are no scrolls; a text of none at all is one empty scroll at `key`. Raises
    SpliceOverflowError if a delimiter leads past 999.
    """
    pieces: dict[int, bytes] = {}
    start = 0
    while True:
        end = phext.find_break(text, start)
        piece = text[start:] if end < 0 else text[start:end]
        if piece:
            pieces[key] = piece
        if end < 0:
            break
        delimiter = text[end]
        if phext.overflows(key, delimiter):
            raise SpliceOverflowError(end, phext.dimension_of(delimiter))
        key = phext.advance(key, delimiter)
        start = end + 1
    return pieces if text else {key: b""}
