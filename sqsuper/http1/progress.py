"""How far an unfinished piece of a message is known to be right; each byte is looked at once.

The tables below say the same as the whole patterns of `grammar`. They are walked only while a
head, a chunk's line or a trailer section has not ended yet, so that a wrong byte is refused
when it comes and not when (or if) the end comes.
"""

from __future__ import annotations

import re

from sqsuper.http1 import grammar
from sqsuper.http1.errors import FramingError, bad_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Set

MAX_FIELD_LINES = 256
MAX_SIZE_DIGITS = 16


def too_many_lines(limit: int = MAX_FIELD_LINES) -> FramingError:
    """Return the error for more than `limit` field lines (431)."""
    return FramingError(431, "head_too_large", f"more than {limit} field lines")


class State:
    """One place in the grammar.

    `run`: bytes that do not leave it, as a pattern that also matches nothing. `onward`: byte
    value to the state that it leads to. `wrong`: why any other byte is refused.
    """

    __slots__ = ("onward", "run", "wrong")

    def __init__(self, wrong: str, run: bytes = b"") -> None:
        self.run = re.compile(run)
        self.wrong = wrong
        self.onward: dict[int, State] = {}

    def to(self, state: State, values: Iterable[int]) -> None:
        """Let each of the byte values lead to `state`."""
        self.onward.update(dict.fromkeys(values, state))


def _class(pattern: bytes) -> list[int]:
    one = re.compile(pattern)
    return [value for value in range(256) if one.fullmatch(bytes((value,)))]


_TCHARS = _class(grammar.TCHAR)
_HEX = b"0123456789ABCDEFabcdef"
_BLANK, _CR, _LF = b" ", b"\r", b"\n"

# Request line: RFC 9112 3
_BAD_METHOD = "the request line does not begin with a method and a blank"
_BAD_TARGET = "the target is empty, not followed by one blank, or holds a byte that none may"
_BAD_VERSION = "the request line does not end with HTTP/1.1 or HTTP/1.0"
REQUEST = State(_BAD_METHOD)
_METHOD = State(_BAD_METHOD, grammar.TCHAR + b"*")
_BEFORE_TARGET = State(_BAD_TARGET)
_TARGET = State(_BAD_TARGET, grammar.TARGET_CHAR + b"*")
_VERSION = [State(_BAD_VERSION) for _ in b"HTTP/1.1\r"]
# Field lines: RFC 9112 5
_LINE_FEED = State("a CR without LF")
FIELDS = State("a field line does not begin with a name (folded lines are not taken)")
_NAME = State("a field line without a name directly before its colon", grammar.TCHAR + b"*")
_VALUE = State("a control byte, or a LF without CR, in a field's value", grammar.VALUE_CHAR + b"*")
_LAST_LINE_FEED = State("a CR without LF")
END = State("")

REQUEST.to(_METHOD, _TCHARS)
_METHOD.to(_BEFORE_TARGET, _BLANK)
_BEFORE_TARGET.to(_TARGET, _class(grammar.TARGET_CHAR))
_TARGET.to(_VERSION[0], _BLANK)
for _state, _next, _values in zip(
    _VERSION,
    [*_VERSION[1:], _LINE_FEED],
    (b"H", b"T", b"T", b"P", b"/", b"0123456789", b".", b"0123456789", _CR),
    strict=True,
):
    _state.to(_next, _values)
_LINE_FEED.to(FIELDS, _LF)
FIELDS.to(_NAME, _TCHARS)
FIELDS.to(_LAST_LINE_FEED, _CR)
_NAME.to(_VALUE, b":")
_VALUE.to(_LINE_FEED, _CR)
_LAST_LINE_FEED.to(END, _LF)

# A chunk's line: RFC 9112 7.1, 7.1.1
BAD_CHUNK_LINE = "a chunk's line is not 1 to 16 hex digits with well-formed extensions and CRLF"
_BLANKS = grammar.OWS
CHUNK_LINE = State(BAD_CHUNK_LINE)
_SIZE = State(BAD_CHUNK_LINE, rb"[0-9A-Fa-f]*")
_BEFORE_EXT = State(BAD_CHUNK_LINE, rb"[ \t]*")
_BEFORE_EXT_NAME = State(BAD_CHUNK_LINE, rb"[ \t]*")
_EXT_NAME = State(BAD_CHUNK_LINE, grammar.TCHAR + b"*")
_AFTER_EXT_NAME = State(BAD_CHUNK_LINE, rb"[ \t]*")
_BEFORE_EXT_VALUE = State(BAD_CHUNK_LINE, rb"[ \t]*")
_EXT_TOKEN = State(BAD_CHUNK_LINE, grammar.TCHAR + b"*")
_QUOTED = State(BAD_CHUNK_LINE, grammar.QDTEXT + b"*")
_QUOTED_PAIR = State(BAD_CHUNK_LINE)
_AFTER_QUOTED = State(BAD_CHUNK_LINE)
_CHUNK_LINE_FEED = State(BAD_CHUNK_LINE)

CHUNK_LINE.to(_SIZE, _HEX)
for _state in (_SIZE, _EXT_NAME, _EXT_TOKEN, _AFTER_QUOTED):
    _state.to(_BEFORE_EXT, _BLANKS)
    _state.to(_CHUNK_LINE_FEED, _CR)
for _state in (_SIZE, _BEFORE_EXT, _EXT_NAME, _AFTER_EXT_NAME, _EXT_TOKEN, _AFTER_QUOTED):
    _state.to(_BEFORE_EXT_NAME, b";")
_BEFORE_EXT_NAME.to(_EXT_NAME, _TCHARS)
_EXT_NAME.to(_AFTER_EXT_NAME, _BLANKS)
for _state in (_EXT_NAME, _AFTER_EXT_NAME):
    _state.to(_BEFORE_EXT_VALUE, b"=")
_BEFORE_EXT_VALUE.to(_EXT_TOKEN, _TCHARS)
_BEFORE_EXT_VALUE.to(_QUOTED, b'"')
_QUOTED.to(_QUOTED_PAIR, b"\\")
_QUOTED.to(_AFTER_QUOTED, b'"')
_QUOTED_PAIR.to(_QUOTED, _class(grammar.VALUE_CHAR))
_CHUNK_LINE_FEED.to(END, _LF)


class Progress:
    """Walks one table over the front of a buffer that grows between the calls.

    `position`: how many bytes are known to be right.
    """

    __slots__ = ("_state", "position")

    def __init__(self, start: State) -> None:
        self._state = start
        self.position = 0

    @property
    def ended(self) -> bool:
        """Whether the piece is whole; `position` is then its length."""
        return self._state is END

    def advance(self, buffer: bytearray, end: int) -> None:
        """Look at the bytes up to `end`; raises FramingError at the first wrong one.

        `position` is then that byte's index.
        """
        position = self.position
        state = self._state
        while position < end and state is not END:
            match = state.run.match(buffer, position, end)
            if match is not None:
                position = match.end()
            if position >= end:
                break
            onward = state.onward.get(buffer[position])
            self.position = position
            if onward is None:
                raise bad_request(state.wrong)
            self._passed(state, onward, buffer)
            state = onward
            position += 1
        self._state = state
        self.position = position

    def _passed(self, left: State, entered: State, buffer: bytearray) -> None:
        """Look at a change of state; the byte at `position` brought it."""


class ChunkLineProgress(Progress):
    """Of a chunk's line."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(CHUNK_LINE)

    def check(self, buffer: bytearray) -> None:
        """Look at the bytes that came; raises FramingError (400) at the first wrong one."""
        if self._state is _SIZE or self._state is CHUNK_LINE:
            self.advance(buffer, min(len(buffer), MAX_SIZE_DIGITS))
            if self._state is _SIZE and buffer[MAX_SIZE_DIGITS : MAX_SIZE_DIGITS + 1].isalnum():
                raise bad_request(BAD_CHUNK_LINE)
        self.advance(buffer, len(buffer))


class HeadProgress(Progress):
    """Of a request's head of at most `max_lines` field lines."""

    __slots__ = ("_lines", "_max_lines")

    def __init__(self, start: State = REQUEST, max_lines: int = MAX_FIELD_LINES) -> None:
        super().__init__(start)
        self._lines = 0
        self._max_lines = max_lines

    @property
    def resume(self) -> int:
        """Where the search for the end of the head goes on."""
        return max(0, self.position - 3)

    def check(self, buffer: bytearray, limit: int) -> None:
        """Look at the bytes that came.

        Raises FramingError: 400 at the first wrong byte, 431 at the end of a line too many or
        past `limit` bytes, 414 when these hold no whole request line.
        """
        self.advance(buffer, min(len(buffer), limit))
        if len(buffer) > limit and not self.ended:
            raise self._too_large(buffer, limit)

    def _too_large(self, buffer: bytearray, limit: int) -> FramingError:
        # The bytes before the limit are known to be right: the first CR is the line's end.
        if buffer.find(_CR, 0, limit + 1) >= 0:
            return FramingError(431, "head_too_large", f"the head is over {limit} bytes")
        return FramingError(414, "target_too_long", f"the request line is over {limit} bytes")

    def _passed(self, left: State, entered: State, buffer: bytearray) -> None:
        if left is _LINE_FEED:
            self._lines += 1
            # The request line is the first of them.
            if self._lines > self._max_lines + 1:
                raise too_many_lines(self._max_lines)


class TrailersProgress(Progress):
    """Of a trailer section, up to and with the empty line that ends it.

    `refused`: lower-case names that must not stand there.
    """

    __slots__ = ("_lines", "_name", "_refused")

    def __init__(self, refused: Set[bytes]) -> None:
        super().__init__(FIELDS)
        self._refused = refused
        self._lines = 0
        self._name = 0  # where the name that is being read begins

    def check(self, buffer: bytearray, limit: int) -> None:
        """Look at the bytes that came.

        Raises FramingError: 400 at the first wrong byte or the colon behind a name that is
        refused, 431 at the end of a line too many or past `limit` bytes.
        """
        self.advance(buffer, min(len(buffer), limit))
        if len(buffer) > limit and not self.ended:
            raise FramingError(431, "head_too_large", f"the trailers are over {limit} bytes")

    def _passed(self, left: State, entered: State, buffer: bytearray) -> None:
        if left is FIELDS:
            self._name = self.position
        elif left is _NAME:
            name = bytes(buffer[self._name : self.position]).lower()
            if name in self._refused:
                raise bad_request(f"{name.decode('ascii')} must not stand in a trailer")
        elif left is _LINE_FEED:
            self._lines += 1
            if self._lines > MAX_FIELD_LINES:
                raise too_many_lines()
