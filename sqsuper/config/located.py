"""A configuration file's text as values that know their line, whatever the format."""

from __future__ import annotations

from datetime import date, datetime, time
from enum import Enum
from pathlib import Path
from typing import TypeAlias

import attrs

from sqsuper.config.errors import MalformedError

MAX_DEPTH = 32


class Kind(Enum):
    """What a format took a scalar for."""

    NULL = "null"
    BOOL = "a boolean"
    INT = "a number"
    FLOAT = "a number with a fraction"
    TEXT = "text"
    TIME = "a date or time"


Plain: TypeAlias = "str | int | float | bool | datetime | date | time | None"


@attrs.define
class Scalar:
    """One value. `value` is None for null, and for a number that is not written in decimal."""

    kind: Kind
    value: Plain
    text: str
    line: int | None


@attrs.define
class Sequence:
    items: list[Value]
    line: int | None


@attrs.define
class Mapping:
    """`entries` in the file's order; `lines` has each key's own line."""

    entries: dict[str, Value]
    lines: dict[str, int | None]
    line: int | None


Value: TypeAlias = "Scalar | Sequence | Mapping"


def format_key(path: str, key: str) -> str:
    """Return the path of `key` below `path`; a key that is no plain word is put in quotes."""
    shown = key if key and all(c.isalnum() or c in "_-" for c in key) else f'"{key}"'
    return f"{path}.{shown}" if path else shown


@attrs.frozen
class Source:
    """A file being read: `shown` as the user gave it, `path` absolute, `text` decoded."""

    shown: str
    path: Path
    text: str = attrs.field(repr=False)

    def malformed(
        self, line: int | None, problem: str, remedy: str = "", key: str = ""
    ) -> MalformedError:
        """Return the error for a text that breaks the format's rules at `line`.

        Parsers place the end of the text on the line behind it; told is the last one there is.
        """
        if line is not None:
            line = min(line, max(1, len(self.text.splitlines())))
        return MalformedError(self.shown, line, key, problem, remedy)

    def too_deep(self, line: int | None) -> MalformedError:
        return self.malformed(line, f"nested more than {MAX_DEPTH} deep")
