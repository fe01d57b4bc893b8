"""Whether bytes are UTF-8, and where they are not."""

from __future__ import annotations

from codecs import utf_8_decode

_PIECE_BYTES = 1 << 20


def utf8_fault(data: bytes) -> int | None:
    """Return the offset of the first byte that is not UTF-8, or None.

    Looks at pieces, so that no second copy of a large text is made.
    """
    if data.isascii():
        return None
    position = 0
    view = memoryview(data)
    while position < len(data):
        piece = view[position : position + _PIECE_BYTES]
        last = position + len(piece) >= len(data)
        try:
            _text, used = utf_8_decode(piece, "strict", last)
        except UnicodeDecodeError as error:
            return position + error.start
        position += used
    return None
