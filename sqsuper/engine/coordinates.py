"""Coordinates as requests spell them."""

from __future__ import annotations

import re

from sqsuper.engine.errors import BadCoordinateError
from sqsuper.engine.phext import MAX_PART, ORIGIN, pack

_NUMBER = r"([0-9]+)"
# `;` stands for `/` (libphext: for URLs).
_FORM = re.compile(
    r"[/;]".join(r"\.".join(_NUMBER for _ in range(3)) for _ in range(3)),
)

_DIGITS = len(str(MAX_PART))
# How many spellings of sections are remembered, and how long they may be.
_KNOWN = 1024
_KNOWN_LENGTH = 64


def parse(text: str) -> int:
    """Return the key of a whole coordinate.

    Raises BadCoordinateError if it is not nine numbers in SQ's form, each 1..999.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise BadCoordinateError(text)
    digits = [part.lstrip("0") for part in match.groups()]
    # Lengths first: int() of thousands of digits raises ValueError.
    if max(map(len, digits)) > len(str(MAX_PART)):
        raise BadCoordinateError(text)
    parts = [int(part or "0") for part in digits]
    if min(parts) < 1 or max(parts) > MAX_PART:
        raise BadCoordinateError(text)
    return pack(parts)


def has_form(text: str) -> bool:
    """Whether `text` is nine numbers in SQ's form, in range or not."""
    return _FORM.fullmatch(text) is not None


def parse_lenient(text: str) -> int:
    """Return the key that libphext's `to_coordinate` reads from any text.

    Only digits, `.`, `/` and `;` count; each of these goes on to the next part (leading ones
    to none), numbers past the ninth part replace each other, the last number is the scroll,
    missing parts are 1. Raises BadCoordinateError if a part is then outside 1..999.
    """
    parts = [1] * 9
    index = 0
    value = 0
    for char in text:
        if char in "./;":
            if 1 <= index <= 8:
                parts[index - 1] = value
                index += 1
            value = 0
        elif "0" <= char <= "9":
            # No value past the range is of use: kept small, whatever the length.
            value = min(10 * value + int(char), MAX_PART + 1)
            index = index or 1
    if index:
        parts[8] = value
    if min(parts) < 1 or max(parts) > MAX_PART:
        raise BadCoordinateError(text)
    return pack(parts)


class Reading:
    """How a tenant's coordinates are read: strict or lenient."""

    __slots__ = ("_sections", "lenient")

    def __init__(self, lenient: bool) -> None:
        self.lenient = lenient
        # All of a coordinate but its scroll, to the key before the first scroll's: clients
        # stay in few sections.
        self._sections: dict[str, int] = {}

    def of_read(self, text: str | None) -> int:
        """Return the key that a read asks for; none is 1.1.1/1.1.1/1.1.1 (as SQ)."""
        if not text:
            return ORIGIN
        section, _, scroll = text.rpartition(".")
        base = self._sections.get(section)
        if base is not None and len(scroll) <= _DIGITS and scroll.isascii() and scroll.isdigit():
            number = int(scroll)
            if number:
                return base + number
        key = parse_lenient(text) if self.lenient else parse(text)
        if len(section) <= _KNOWN_LENGTH and scroll.isascii() and scroll.isdigit():
            if len(self._sections) >= _KNOWN:
                self._sections.clear()
            self._sections[section] = key - int(scroll)
        return key

    def of_write(self, text: str | None) -> int:
        """Return the key that a write asks for. Raises BadCoordinateError for none, if strict."""
        if not text and not self.lenient:
            raise BadCoordinateError("")
        return self.of_read(text)
