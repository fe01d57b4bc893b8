"""Conditional requests on one scroll (RFC 9110 13): who may overwrite whom."""

from __future__ import annotations

import re

import xxhash

from sqsuper.engine.errors import BadRequestError, PreconditionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqsuper.http1.head import Field

# RFC 9110 8.8.3, 5.6.1 (empty list elements are to be taken)
_TAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_BETWEEN = re.compile(rb"[ \t,]*")


def etag(text: bytes) -> bytes:
    """Return the entity tag of a scroll: its xxh3-128 in quotes; an absent one is empty."""
    return b'"%b"' % xxhash.xxh3_128_hexdigest(text).encode("ascii")


_NAMES = frozenset({b"if-match", b"if-none-match"})


class Conditions:
    """What If-Match and If-None-Match of one request demand. Each None where not sent."""

    __slots__ = ("_match", "_none_match")

    def __init__(self, fields: Iterable[Field]) -> None:
        """Raises BadRequestError for a field that is no list of entity tags."""
        self._match: bytes | None = None
        self._none_match: bytes | None = None
        for name, value, _line in fields:
            # Several lines are one list.
            if name == b"if-match":
                self._match = _joined(self._match, value)
            elif name == b"if-none-match":
                self._none_match = _joined(self._none_match, value)
        for listed in (self._match, self._none_match):
            if listed is not None and listed != b"*" and not _is_list(listed):
                which = "If-Match" if listed is self._match else "If-None-Match"
                raise BadRequestError(f'{which} is neither * nor a list of tags such as "…"')

    def is_unchanged(self, text: bytes) -> bool:
        """Whether a read is answered by 304. Raises PreconditionError (412)."""
        self._check_match(text)
        return self._none_match is not None and self._is_listed(self._none_match, text, weak=True)

    def check_write(self, text: bytes) -> None:
        """Raise PreconditionError unless a scroll that has `text` may be written."""
        self._check_match(text)
        listed = self._none_match
        if listed is not None and self._is_listed(listed, text, weak=True):
            raise PreconditionError(etag(text))

    def _check_match(self, text: bytes) -> None:
        if self._match is not None and not self._is_listed(self._match, text, weak=False):
            raise PreconditionError(etag(text))

    @staticmethod
    def _is_listed(listed: bytes, text: bytes, *, weak: bool) -> bool:
        if listed == b"*":
            return bool(text)
        tag = etag(text)
        return any(found[2] == tag and (weak or not found[1]) for found in _TAG.finditer(listed))


def _joined(listed: bytes | None, value: bytes) -> bytes:
    return value if listed is None else listed + b"," + value


def _is_list(listed: bytes) -> bool:
    """Whether `listed` is one entity tag or more, with commas between."""
    # Step by step: one pattern for all of it takes time in the square of a long wrong list.
    position = _end(_BETWEEN, listed, 0)
    while (end := _end(_TAG, listed, position)) > position:
        position = _end(_BETWEEN, listed, end)
        if position == len(listed):
            return True
        if b"," not in listed[end:position]:
            return False
    return False


def _end(pattern: re.Pattern[bytes], text: bytes, position: int) -> int:
    found = pattern.match(text, position)
    return position if found is None else found.end()


def conditions_of(fields: Iterable[Field]) -> Conditions | None:
    """Return what the fields of a head demand, None if nothing. Raises as `Conditions`."""
    for field in fields:
        if field[0] in _NAMES:
            return Conditions(fields)
    return None
