"""A request's parameters, decoded by SQ's rules: `&`, the first `=`, `+` and `%XX`, once."""

from __future__ import annotations

import re

from sqsuper.engine.errors import BadParameterError

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def decode(raw: bytes) -> bytes:
    """Return `raw` with `+` as a blank and `%XX` as bytes; any other `%` stays as it is."""
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" not in raw:
        return raw
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), raw)


class Query:
    """The parameters of one request; the last of repeated ones wins, one without `=` is none."""

    __slots__ = ("_plain", "_values")

    def __init__(self, raw: bytes) -> None:
        """Split `raw`, what follows the target's first `?`."""
        values: dict[bytes, bytes] = {}
        # Nothing to decode: as most clients send it.
        self._plain = plain = b"%" not in raw and b"+" not in raw
        if raw:
            for pair in raw.split(b"&"):
                key, equals, value = pair.partition(b"=")
                if equals:
                    values[key if plain else decode(key)] = value
        self._values = values

    def raw(self, name: bytes) -> bytes | None:
        """Return a parameter's decoded bytes, or None."""
        value = self._values.get(name)
        return value if value is None or self._plain else decode(value)

    def text(self, name: bytes) -> str | None:
        """Return a parameter as text, or None. Raises BadParameterError if it is not UTF-8."""
        value = self.raw(name)
        if value is None:
            return None
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            shown = name.decode("ascii")
            raise BadParameterError(
                shown, f"parameter {shown} is not UTF-8: wrong byte at offset {error.start}"
            ) from None
