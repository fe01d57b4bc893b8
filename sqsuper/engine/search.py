"""Finding a literal text in a phext's scrolls."""

from __future__ import annotations

import re

from sqsuper.engine.errors import BadParameterError
from sqsuper.engine.phext import MAX_PART, PARTS, format_key, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqsuper.engine.document import Snapshot
    from sqsuper.engine.turns import Job

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_NEEDLE_BYTES = 4096
# What of a line is shown, at most, on each side of what was found.
_CONTEXT_CHARACTERS = 80

_PREFIX = re.compile(r"[0-9]+(?:[./;][0-9]+){0,8}[./;]?")
_NUMBER = re.compile(r"[0-9]+")
_CONTEXT_BYTES = 4 * _CONTEXT_CHARACTERS
# What is looked at between two pauses: bytes, and where case is ignored comparisons, of which
# there may be one for each character and place.
_STEP_BYTES = 1 << 20
_STEP_COMPARISONS = 1 << 19
_LEAST_STEP_BYTES = 64
# What a scroll takes beside its text, in bytes.
_SCROLL_BYTES = 512


class Search:
    """What to look for.

    `text`: literally, at most 4096 bytes; `ignoring_case`: letters match their other case
    (Unicode's simple case folding). `low`, `high`: the first and last key to look at. `limit`:
    of scrolls found.
    """

    __slots__ = ("_characters", "_pattern", "_step", "_text", "high", "limit", "low")

    def __init__(self, text: str, low: int, high: int, *, ignoring_case: bool, limit: int) -> None:
        self._text = text.encode("utf-8")
        self._characters = len(text)
        self._pattern = re.compile(re.escape(text), re.IGNORECASE) if ignoring_case else None
        # So many bytes' places are looked at between two pauses.
        self._step = (
            max(_STEP_COMPARISONS // len(text), _LEAST_STEP_BYTES) if ignoring_case else _STEP_BYTES
        )
        self.low = low
        self.high = high
        self.limit = limit

    def run(self, snapshot: Snapshot) -> Job[dict[str, object]]:
        """Return what is found, a scroll once, for JSON: `results` and whether there is `more`.

        Each result has `coord`, `offset` (bytes, of the first place) and `text`: the line it
        stands in, of a long one the part around it.
        """
        results: list[dict[str, object]] = []
        size = 0
        for keys, texts in snapshot.blocks(self.low, self.high):
            for key, text in zip(keys, texts, strict=True):
                offset = self._find(text, 0)
                start = 0
                while offset < 0 and start + self._step < len(text):
                    yield None
                    start = _boundary(text, start + self._step)
                    offset = self._find(text, start)
                if offset >= 0:
                    if len(results) == self.limit:
                        return {"results": results, "more": True}
                    results.append(
                        {
                            "coord": format_key(key),
                            "offset": offset,
                            "text": _line(text, offset, self._characters),
                        }
                    )
                size += min(len(text), self._step) + _SCROLL_BYTES
                if size > self._step:
                    size = 0
                    yield None
        return {"results": results, "more": False}

    def _find(self, text: bytes, start: int) -> int:
        """Return the first place from `start` on, where one begins within a step; or -1."""
        end = start + self._step
        if self._pattern is None:
            return text.find(self._text, start, end + len(self._text) - 1)
        # A character that is cut off at the end is looked at in the next step.
        places = len(text[start:end].decode("utf-8", "ignore"))
        window = text[start : end + 4 * self._characters].decode("utf-8", "ignore")
        match = self._pattern.search(window, 0, places + self._characters - 1)
        return -1 if match is None else start + len(window[: match.start()].encode("utf-8"))


def _boundary(text: bytes, position: int) -> int:
    """Return where the character begins that the byte at a position is of."""
    while text[position] & 0xC0 == 0x80:
        position -= 1
    return position


def _line(text: bytes, offset: int, length: int) -> str:
    # Characters that are cut off at either end lie outside of what is shown.
    before = text[max(0, offset - _CONTEXT_BYTES) : offset].decode("utf-8", "ignore")
    rest = text[offset : offset + 4 * length + _CONTEXT_BYTES].decode("utf-8", "ignore")
    start = max(before.rfind("\n") + 1, len(before) - _CONTEXT_CHARACTERS)
    end = rest.find("\n", length)
    end = length + _CONTEXT_CHARACTERS if end < 0 else min(end, length + _CONTEXT_CHARACTERS)
    return before[start:] + rest[:end]


def bounds(prefix: str | None) -> tuple[int, int]:
    """Return the first and last key of a coordinate's first parts, such as `1.5`; none: all.

    Raises BadParameterError.
    """
    parts: list[int] = []
    if prefix:
        if _PREFIX.fullmatch(prefix) is None or len(prefix) > 200:
            raise _bad_prefix()
        parts = [int(number) for number in _NUMBER.findall(prefix)]
        if min(parts) < 1 or max(parts) > MAX_PART:
            raise _bad_prefix()
    rest = PARTS - len(parts)
    return pack([*parts, *[1] * rest]), pack([*parts, *[MAX_PART] * rest])


def _bad_prefix() -> BadParameterError:
    return BadParameterError(
        "prefix", "prefix is the beginning of a coordinate, one to nine numbers, such as 1.5"
    )


def needle(text: str | None) -> str:
    """Return what to look for. Raises BadParameterError if there is none, or too much."""
    if not text:
        raise BadParameterError("q", "q, the text to look for, is missing")
    if len(text.encode("utf-8")) > MAX_NEEDLE_BYTES:
        raise BadParameterError("q", f"q is longer than {MAX_NEEDLE_BYTES} bytes")
    return text


def limit_of(text: str | None) -> int:
    """Return how many results are asked for. Raises BadParameterError."""
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= 1):
        raise BadParameterError("limit", f"limit is a number from 1 to {MAX_LIMIT}")
    return min(int(text), MAX_LIMIT)
