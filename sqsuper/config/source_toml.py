"""TOML text into located values; the parser tells lines for syntax errors only."""

from __future__ import annotations

import re
import sys
from datetime import date, time
from typing import Any

from sqsuper.config.located import MAX_DEPTH, Kind, Mapping, Scalar, Sequence, Source, Value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LINE = re.compile(r"\(at line ([0-9]+), column [0-9]+\)")


def read_toml(source: Source) -> Value:
    """Return the text's table. Raises MalformedError."""
    try:
        table = tomllib.loads(source.text)
    except RecursionError:
        raise source.too_deep(None) from None
    except tomllib.TOMLDecodeError as error:
        told = str(error)
        found = _LINE.search(told)
        line = int(found[1]) if found else None
        if line is None and "at end of document" in told:
            line = source.text.rstrip("\n").count("\n") + 1
        problem = _LINE.sub("", told).strip()
        raise source.malformed(line, f"not valid TOML: {problem}") from None
    except ValueError:
        # int() refuses thousands of digits.
        raise source.malformed(None, "not valid TOML: a number has too many digits") from None
    return _located(source, table, 0)


def _located(source: Source, value: Any, depth: int) -> Value:
    if isinstance(value, (dict, list)) and depth >= MAX_DEPTH:
        raise source.too_deep(None)
    if isinstance(value, dict):
        entries = {key: _located(source, item, depth + 1) for key, item in value.items()}
        return Mapping(entries, dict.fromkeys(entries), None)
    if isinstance(value, list):
        return Sequence([_located(source, item, depth + 1) for item in value], None)
    return _scalar(value)


def _scalar(value: Any) -> Scalar:
    if isinstance(value, bool):
        return Scalar(Kind.BOOL, value, str(value).lower(), None)
    if isinstance(value, int):
        whole = value if abs(value) < 10**24 else None
        return Scalar(Kind.INT, whole, "" if whole is None else str(value), None)
    if isinstance(value, float):
        return Scalar(Kind.FLOAT, value, str(value), None)
    if isinstance(value, (date, time)):  # a datetime is a date
        return Scalar(Kind.TIME, value, value.isoformat(), None)
    return Scalar(Kind.TEXT, value, str(value), None)
