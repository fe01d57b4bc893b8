"""Readers: each takes one located value and its place, and gives the typed value.

A reader is `(Value, Place) -> T`, and raises WrongValueError with file, line and key path.
Values that may be secret are never repeated in an error.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import TypeVar

import attrs

from sqsuper.config.errors import UnknownKeyError, WrongValueError
from sqsuper.config.located import Kind, Mapping, Scalar, Sequence, Value, format_key
from sqsuper.config.values import (
    DURATION_FORM,
    MOMENT_FORM,
    SIZE_FORM,
    parse_duration,
    parse_moment,
    parse_size,
)

T = TypeVar("T")
E = TypeVar("E", bound=Enum)

# Where each key stands: its path to the file as shown and the line.
Places = dict[str, "tuple[str, int | None]"]


@attrs.frozen
class Place:
    """Where a value stands: the file as shown, its key path, and what paths are relative to."""

    file: str
    path: str
    base: Path
    places: Places

    def child(self, key: str, line: int | None) -> Place:
        """Return the place of `key` below this one, and note its line."""
        path = format_key(self.path, key)
        self.places[path] = (self.file, line)
        return Place(self.file, path, self.base, self.places)

    def item(self, number: int, line: int | None) -> Place:
        """Return the place of a list's item (counted from 0), and note its line."""
        path = f"{self.path}[{number}]"
        self.places[path] = (self.file, line)
        return Place(self.file, path, self.base, self.places)

    def wrong(self, line: int | None, problem: str, remedy: str = "") -> WrongValueError:
        return WrongValueError(self.file, line, self.path, problem, remedy)

    def not_right(self, value: Value, right: str, secret: bool = False) -> WrongValueError:
        """Return the error "must be RIGHT, not VALUE" (of a secret: its kind alone)."""
        shown = describe_kind(value) if secret else describe(value)
        return self.wrong(value.line, f"must be {right}, not {shown}")

    def unknown(self, key: str, line: int | None, known: Iterable[str]) -> UnknownKeyError:
        """Return the error for a key that is none of `known`, naming the nearest of them."""
        names = sorted(known)
        near = get_close_matches(key, names, 1, 0.5)
        remedy = f"did you mean {near[0]}?" if near else f"the keys here are {', '.join(names)}"
        shown = key if len(key) <= 30 else key[:8] + "..."
        return UnknownKeyError(
            self.file,
            line,
            format_key(self.path, shown),
            "unknown key",
            remedy,
            nearest=near[0] if near else None,
        )


Reader = Callable[[Value, Place], T]


def describe_kind(value: Value) -> str:
    """Return what a value is, without what it says."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence):
        return "a list"
    if value.kind is Kind.NULL:
        return "null"
    return str(value.kind.value)


def describe(value: Value) -> str:
    """Return a value for an error's text: a scalar as it was written, cut to 40 characters."""
    if not isinstance(value, Scalar) or value.kind is Kind.NULL:
        return describe_kind(value)
    text = value.text if len(value.text) <= 40 else value.text[:37] + "..."
    return f'"{text}"' if value.kind is Kind.TEXT else text or describe_kind(value)


def mapping(value: Value, at: Place, right: str = "a mapping (keys and values)") -> Mapping:
    if isinstance(value, Mapping):
        return value
    if is_none(value):
        raise at.wrong(value.line, f"must be {right}, not null", "remove the key, or write {}")
    raise at.not_right(value, right, secret=True)


def plain_text(right: str = "text", secret: bool = False, empty: bool = False) -> Reader[str]:
    """Text that the format itself took for text; no NUL and no half of a surrogate pair."""

    def read(value: Value, at: Place) -> str:
        if not isinstance(value, Scalar) or value.kind is Kind.NULL:
            raise at.not_right(value, right, secret)
        if value.kind is not Kind.TEXT or not isinstance(value.value, str):
            shown = "this" if secret or not value.text else value.text
            quoted = "" if secret or not value.text else f': "{value.text}"'
            raise at.wrong(
                value.line,
                f"must be {right}, but {shown} is read as {value.kind.value}",
                f"quote it{quoted}",
            )
        text = value.value
        if not text and not empty:
            raise at.wrong(value.line, f"must be {right}, and is empty")
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            raise at.wrong(value.line, f"must be {right}, without NUL and unpaired surrogates")
        return text

    return read


def parsed(parse: Callable[[str], T], right: str) -> Reader[T]:
    """Text that `parse` takes; its ValueError says what would be right."""
    text = plain_text(right)

    def read(value: Value, at: Place) -> T:
        try:
            return parse(text(value, at))
        except ValueError as error:
            raise at.not_right(value, str(error)) from None

    return read


def integer(low: int, high: int) -> Reader[int]:
    right = f"a whole number from {low} to {high}"

    def read(value: Value, at: Place) -> int:
        if not isinstance(value, Scalar) or value.kind is not Kind.INT:
            raise at.not_right(value, right)
        number = value.value
        if not isinstance(number, int):
            raise at.not_right(value, f"{right} in plain decimal digits")
        if not low <= number <= high:
            raise at.not_right(value, right)
        return number

    return read


def number(low: float, high: float, above: bool = False) -> Reader[float]:
    """A finite number from `low` (or above it) to `high`."""
    right = f"a number {'above' if above else 'from'} {low:g} {'up ' if above else ''}to {high:g}"

    def read(value: Value, at: Place) -> float:
        found = _number(value)
        if found is None or not low <= found <= high or (above and found == low):
            raise at.not_right(value, right)
        return float(found)

    return read


def _number(value: Value) -> int | float | None:
    """Return a finite number, or None for everything else (booleans too)."""
    if (
        isinstance(value, Scalar)
        and value.kind in {Kind.INT, Kind.FLOAT}
        and isinstance(value.value, (int, float))
        and math.isfinite(value.value)
    ):
        return value.value
    return None


def boolean(value: Value, at: Place) -> bool:
    if isinstance(value, Scalar) and isinstance(value.value, bool):
        return value.value
    raise at.not_right(value, "true or false")


def duration(value: Value, at: Place) -> float:
    """Seconds, 0 allowed."""
    given = value.value if isinstance(value, Scalar) and value.kind is Kind.TEXT else _number(value)
    if not isinstance(given, (str, int, float)):
        raise at.not_right(value, DURATION_FORM)
    try:
        return parse_duration(given)
    except ValueError as error:
        raise at.not_right(value, str(error)) from None


def positive_duration(value: Value, at: Place) -> float:
    seconds = duration(value, at)
    if seconds < 0.001:
        raise at.not_right(value, f"1ms or more: {DURATION_FORM}")
    return seconds


def size(low: int = 1) -> Reader[int]:
    """Bytes, `low` or more."""

    def read(value: Value, at: Place) -> int:
        given = value.value if isinstance(value, Scalar) else None
        if isinstance(given, bool) or not isinstance(given, (str, int)):
            raise at.not_right(value, SIZE_FORM)
        try:
            found = parse_size(given)
        except ValueError as error:
            raise at.not_right(value, str(error)) from None
        if found < low:
            raise at.not_right(value, f"{low} bytes or more")
        return found

    return read


def number_or_text(parse: Callable[[str | float], T], right: str) -> Reader[T]:
    def read(value: Value, at: Place) -> T:
        text = isinstance(value, Scalar) and value.kind is Kind.TEXT
        given = value.value if isinstance(value, Scalar) and text else _number(value)
        if not isinstance(given, (str, int, float)):
            raise at.not_right(value, right)
        try:
            return parse(given)
        except ValueError as error:
            raise at.not_right(value, str(error)) from None

    return read


def choice(kind: type[E]) -> Reader[E]:
    names = {member.value: member for member in kind}
    right = "one of " + ", ".join(names)

    def read(value: Value, at: Place) -> E:
        given = value.value if isinstance(value, Scalar) else None
        if not isinstance(given, str) or given not in names:
            raise at.not_right(value, right)
        return names[given]

    return read


def optional(reader: Reader[T], never: bool = False) -> Reader[T | None]:
    """What `reader` takes, or null, or `none` (for times also `never`)."""

    def read(value: Value, at: Place) -> T | None:
        return None if is_none(value, never) else reader(value, at)

    return read


def is_none(value: Value, never: bool = False) -> bool:
    if not isinstance(value, Scalar):
        return False
    if value.kind is Kind.NULL:
        return True
    return value.kind is Kind.TEXT and (value.value == "none" or (never and value.value == "never"))


def listing(item: Reader[T], right: str, empty: bool = True) -> Reader[tuple[T, ...]]:
    """A list, each item by `item`."""

    def read(value: Value, at: Place) -> tuple[T, ...]:
        if not isinstance(value, Sequence):
            raise at.not_right(value, right, secret=True)
        if not value.items and not empty:
            raise at.wrong(value.line, f"must be {right}, and is empty")
        return tuple(item(one, at.item(n, one.line)) for n, one in enumerate(value.items))

    return read


_path_text = plain_text("a path")


def path(value: Value, at: Place) -> Path:
    """A path, relative ones taken from the configuration file's directory."""
    text = _path_text(value, at)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise at.wrong(value.line, "the file system's encoding has no such path") from None
    return Path(at.base, text)


def argv(right: str, secret: bool = True) -> Reader[tuple[str, ...]]:
    """A program and its arguments: a list of texts, the first not empty."""
    arguments: Reader[tuple[str, ...]] = listing(
        plain_text("text", secret=secret, empty=True), right, empty=False
    )

    def read(value: Value, at: Place) -> tuple[str, ...]:
        words = arguments(value, at)
        if not words[0]:
            raise at.wrong(value.line, "the first item names the program, and is empty")
        return words

    return read


def moment(value: Value, at: Place) -> datetime:
    """A time with zone, in UTC. YAML's and TOML's own times are taken as they are written."""
    if not isinstance(value, Scalar) or value.kind not in {Kind.TEXT, Kind.TIME}:
        raise at.not_right(value, MOMENT_FORM)
    try:
        return parse_moment(value.text)
    except ValueError as error:
        raise at.not_right(value, str(error)) from None
