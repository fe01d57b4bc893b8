"""JSON text (RFC 8259) into located values: strict, with duplicate keys refused."""

from __future__ import annotations

import re
from bisect import bisect_right
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]

from sqsuper.config.errors import MalformedError
from sqsuper.config.located import (
    MAX_DEPTH,
    Kind,
    Mapping,
    Scalar,
    Sequence,
    Source,
    Value,
    format_key,
)

_BLANK = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z]+")
_WORDS: dict[str, tuple[Kind, bool | None]] = {
    "true": (Kind.BOOL, True),
    "false": (Kind.BOOL, False),
    "null": (Kind.NULL, None),
}
# Longer ones are no setting of ours, and int() refuses or takes long over them.
_MAX_DIGITS = 25


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.at = 0
        self.breaks = [found.start() for found in re.finditer("\n", source.text)]

    def line(self, at: int) -> int:
        return bisect_right(self.breaks, at - 1) + 1

    def malformed(self, problem: str, at: int | None = None) -> MalformedError:
        line = self.line(self.at if at is None else at)
        return self.source.malformed(line, f"not valid JSON: {problem}")

    def skip(self) -> str:
        """Pass blanks; return the next character, or an empty text at the end."""
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.text[self.at : self.at + 1]

    def string(self) -> str:
        try:
            text, self.at = scanstring(self.text, self.at + 1, True)
        except JSONDecodeError as error:
            problem = error.msg.removesuffix(" at").removesuffix(" starting")
            raise self.malformed(problem, error.pos) from None
        return str(text)

    def value(self, path: str, depth: int, line: int | None = None) -> Value:
        head = self.skip()
        own = self.line(self.at)
        if head and head in "{[":
            if depth >= MAX_DEPTH:
                raise self.source.too_deep(own)
            shown = own if line is None else line
            if head == "{":
                return self.mapping(path, depth + 1, shown)
            return self.sequence(path, depth + 1, shown)
        if head == '"':
            text = self.string()
            return Scalar(Kind.TEXT, text, text, own)
        return self.bare(own)

    def bare(self, line: int) -> Scalar:
        if word := _WORD.match(self.text, self.at):
            if word[0] not in _WORDS:
                raise self.malformed("expected a value")
            self.at = word.end()
            kind, value = _WORDS[word[0]]
            return Scalar(kind, value, word[0], line)
        number = _NUMBER.match(self.text, self.at)
        if number is None:
            raise self.malformed("expected a value")
        self.at = number.end()
        text = number[0]
        if number[1] is None and number[2] is None:
            whole = int(text) if len(text) <= _MAX_DIGITS else None
            return Scalar(Kind.INT, whole, text, line)
        return Scalar(Kind.FLOAT, float(text), text, line)

    def mapping(self, path: str, depth: int, line: int) -> Mapping:
        result = Mapping({}, {}, line)
        self.at += 1
        if self.skip() == "}":
            self.at += 1
            return result
        while True:
            if self.skip() != '"':
                raise self.malformed("expected a key in double quotes")
            key_line = self.line(self.at)
            key = self.string()
            below = format_key(path, key)
            if key in result.entries:
                raise self.source.malformed(
                    key_line,
                    f"the key is already on line {result.lines[key]}",
                    "keep one of them",
                    below,
                )
            if self.skip() != ":":
                raise self.malformed("expected ':' after the key")
            self.at += 1
            result.entries[key] = self.value(below, depth, key_line)
            result.lines[key] = key_line
            if self.end("}"):
                return result

    def sequence(self, path: str, depth: int, line: int) -> Sequence:
        result = Sequence([], line)
        self.at += 1
        if self.skip() == "]":
            self.at += 1
            return result
        while True:
            result.items.append(self.value(f"{path}[{len(result.items)}]", depth))
            if self.end("]"):
                return result

    def end(self, closing: str) -> bool:
        """Pass a comma (False) or the closing bracket (True)."""
        head = self.skip()
        if head not in {",", closing}:
            raise self.malformed(f"expected ',' or '{closing}'")
        self.at += 1
        return head == closing


def read_json(source: Source) -> Value:
    """Return the text's value. Raises MalformedError."""
    reader = _Reader(source)
    value = reader.value("", 0)
    if reader.skip():
        raise reader.malformed("something follows the end of the document")
    return value
