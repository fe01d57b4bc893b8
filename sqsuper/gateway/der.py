"""DER, as far as certificates need it (X.690, 8.1)."""

from __future__ import annotations

from collections.abc import Iterator


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give (tag, content) of each element in `data`. Raises IndexError when it is cut short."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise IndexError
        yield tag, data[at : at + length]
        at += length
