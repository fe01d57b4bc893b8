"""One entry's fields, read alike in every format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from sqsuper.cli.formats.found import FormatError, Found

# A status or state that means: serve it. Others are taken over disabled.
_LIVE = frozenset({"", "active", "assigned", "enabled", "live", "ok", "on", "purchased", "sold"})
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_TOKEN, _NAME = ("token", "api_key"), ("name", "id")
_EMAIL = ("admin_email", "email", "customer_email")
_STATUS, _ENABLED = ("status", "state"), ("active", "enabled")
_USUAL = frozenset({*_TOKEN, *_NAME, *_EMAIL, *_STATUS, *_ENABLED, "port", "data_dir", "quota_mb"})
MAX_QUOTA_MB = 10**9
_MAX_EMAIL = 320
_MAX_NAME, _MAX_NAMES = 40, 20


@attrs.frozen
class Fields:
    """The fields of one entry: `where` names it, relative paths are taken from `base`.

    Every method takes the names by which a field is known and returns None when none is there;
    raises FormatError for a value that cannot be meant so.
    """

    values: Mapping[str, Any]
    file: str
    line: int | None
    entry: str
    base: Path

    @property
    def where(self) -> str:
        """Where the entry stands: by line if that is known, else by its number."""
        return f"{self.file}:{self.line}" if self.line else f"{self.file}: {self.entry}"

    def wrong(self, key: str, right: str) -> FormatError:
        return FormatError(self.file, self.line, f"{self.entry}: {key} must be {right}")

    def text(self, *keys: str) -> str | None:
        """Return a text without blanks at its ends; numbers are taken as their digits."""
        for key in keys:
            value = self.values.get(key)
            if isinstance(value, bool) or not isinstance(value, (str, int, type(None))):
                raise self.wrong(key, "a text")
            if value is not None and str(value).strip():
                return str(value).strip()
        return None

    def number(self, low: int, high: int, *keys: str) -> int | None:
        """Return a whole number from `low` to `high`, also one that is written as a text."""
        text = self.text(*keys)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise self.wrong(keys[0], f"a whole number from {low} to {high}")
        if not low <= int(text) <= high:
            raise self.wrong(keys[0], f"a whole number from {low} to {high}")
        return int(text)

    def path(self, *keys: str) -> Path | None:
        """Return an absolute path."""
        text = self.text(*keys)
        if text is None:
            return None
        if "\0" in text:
            raise self.wrong(keys[0], "a path")
        return Path(os.path.normpath(self.base / os.path.expanduser(text)))

    def flag(self, *keys: str) -> bool:
        """Return whether the entry is in use: yes, unless one of the fields says no."""
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            word = str(value).strip().lower()
            if word in _FALSE:
                return False
            if word not in _TRUE | {""}:
                raise self.wrong(key, "true or false")
        return True

    def email(self, notes: list[str]) -> str | None:
        """Return whom to write to; what can be none is told in `notes`."""
        for key in _EMAIL:
            value = self.values.get(key)
            if not value:
                continue
            if isinstance(value, str) and value.isprintable() and len(value) <= _MAX_EMAIL:
                return value.strip() or None
            notes.append(f"its {key} is no e-mail address, and is not taken over")
        return None

    def others(self, *read: str) -> list[str]:
        """Return the names of fields that say something and are none of the usual ones.

        `read`: further ones that the format takes something from.
        """
        known = _USUAL.union(read)
        told = ((key, value) for key, value in self.values.items() if value not in ("", None))
        return [key for key, _ in told if key not in known]

    def found(self, notes: Iterable[str] = (), **known: Any) -> Found:
        """Return the tenant that the usual fields tell of; `known` goes before them."""
        status = (self.text(*_STATUS) or "").lower()
        told = list(notes)
        if status not in _LIVE:
            told.append(f"its status is {status}, so it is taken over disabled")
        facts: dict[str, Any] = {
            "token": self.text(*_TOKEN),
            "name": self.text(*_NAME),
            "port": self.number(1, 65535, "port"),
            "data_dir": self.path("data_dir"),
            "quota_mb": self.number(1, MAX_QUOTA_MB, "quota_mb"),
            "admin_email": self.email(told),
            "enabled": self.flag(*_ENABLED) and status in _LIVE,
        }
        return Found(self.where, notes=tuple(told), **{**facts, **known})


def not_taken(names: Iterable[str]) -> tuple[str, ...]:
    """Return a note for each field that nothing here stands for; each name counts once."""
    each = list(dict.fromkeys(names))
    notes = [f"{name[:_MAX_NAME]} is not taken over" for name in each[:_MAX_NAMES]]
    if len(each) > _MAX_NAMES:
        notes.append(f"{len(each) - _MAX_NAMES} further fields are not taken over")
    return tuple(notes)
