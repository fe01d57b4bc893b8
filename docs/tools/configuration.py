"""The tables of docs/configuration.md: what keys mean is the page's, all else the code's.

A key's type is found by giving its reader what cannot be right: its error says what would be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import attrs

from docs.tools.blocks import PageError, remade
from sqsuper.config import model, schema
from sqsuper.config.credentials import ADMIN_TOKENS
from sqsuper.config.errors import WrongValueError
from sqsuper.config.located import Kind, Mapping, Scalar, Sequence, Value
from sqsuper.config.readers import Place
from sqsuper.config.values import (
    DURATION_FORM,
    FRACTION_FORM,
    SIZE_FORM,
    format_duration,
    format_size,
)

_ROW = re.compile(r"\| `(?P<key>[a-z_.0-9]+)` \| .*? \| (?:`.*?`)? ?\| (?P<meaning>.*?) ?\|")
_HEAD = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
_PLACE = Place("", "key", Path(), {})
_NULL = Scalar(Kind.NULL, None, "null", 1)
_ZERO = Scalar(Kind.INT, 0, "0", 1)
_WRONG: tuple[Value, ...] = (Scalar(Kind.BOOL, True, "true", 1), Mapping({}, {}, 1))
_RIGHT = re.compile(r"must be (?P<right>.+?)(?:, (?:not|but) .*)?")
# What the readers' own words are on the page, where they are shorter.
_WORDS = {
    DURATION_FORM: "time",
    SIZE_FORM: "size",
    FRACTION_FORM: "share",
    'a time of day such as "03:30"': "time of day",
    "two ports such as 7001-7999": "two ports",
    "a list of host names": "list of host names",
    "a mapping such as {per_second: 50, burst: 100}": "`{per_second, burst}`",
    "64 hex digits, the SHA-256 of the token": "64 hex digits",
}
# Read together with others, or by rules of their own.
_APART = {
    "admin.token_sha256": "64 hex digits or null",
    "admin.token": "token or null",
    "admin.token_file": "path or null",
    "tokens": "list of tokens",
    "token_sha256": "list of digests",
}
# As a file would say it: the model has absolute paths, and numbers of seconds and bytes.
_DEFAULTS = {
    "data_root": model.DATA_ROOT,
    "run_dir": model.RUN_DIR,
    "port_range": "7001-7999",
    "tokens": "[]",
    "token_sha256": "[]",
}


@attrs.frozen
class Key:
    """One key's row, but for its meaning. `path` is the key's dotted path."""

    path: str
    kind: str
    default: str


@attrs.frozen
class Probe:
    """A key's reader, asked by values that it may refuse; `default` is the model's."""

    reader: Any
    default: Any

    def key(self, path: str) -> Key:
        return Key(path, self.kind(), _DEFAULTS.get(path) or self.shown())

    def kind(self) -> str:
        """Return what the reader takes, in few words."""
        right = self._right()
        words = _WORDS.get(right) or re.sub(r"^(a|an|one of) | such as .*", "", right)
        words = re.sub(r"(?<=number) (?=from|above)", ", ", words).replace(", from", ",")
        words = re.sub(rf"(\d+) to {schema.BILLION}$", r"\1 or more", words)
        words = words.removesuffix(", 1 or more")
        if right in {DURATION_FORM, SIZE_FORM} and not self._refuses(_ZERO):
            words += ", 0 allowed"
        elif right == SIZE_FORM:
            words += self._least()
        if words.startswith("list of") and self._refuses(Sequence([], 1)):
            words += ", at least one"
        if self._refuses(_NULL):
            return words
        return f"{words}{',' if ',' in words else ''} or null"

    def shown(self) -> str:
        """Return the default as a file would have it."""
        value = self.default
        if value == ():
            return "{}" if isinstance(self.reader, schema.EnvironmentKey) else "[]"
        if isinstance(value, tuple):
            return "[" + ", ".join(f'"{item}"' for item in value) + "]"
        if isinstance(value, Enum):
            return str(value.value)
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        formats: dict[str, Callable[[Any], str]] = {
            DURATION_FORM: format_duration,
            SIZE_FORM: format_size,
            FRACTION_FORM: "{:.0%}".format,
        }
        return formats.get(self._right(), str)(value)

    def _right(self) -> str:
        for wrong in _WRONG:
            error = self._error(wrong)
            found = None if error is None else _RIGHT.fullmatch(error.problem)
            if found is not None:
                return found["right"]
        raise AssertionError(f"no error says what {self.reader} takes")

    def _least(self) -> str:
        error = self._error(_ZERO)
        found = None if error is None else re.match(r"must be (\d+) bytes or more", error.problem)
        return f", {found[1]} or more" if found and found[1] != "1" else ""

    def _refuses(self, value: Value) -> bool:
        return self._error(value) is not None

    def _error(self, value: Value) -> WrongValueError | None:
        try:
            if isinstance(self.reader, schema.Merging):
                self.reader.merge(value, _PLACE, self.default)
            else:
                self.reader(value, _PLACE)
        except WrongValueError as error:
            return error
        return None


def keys() -> dict[str, list[Key]]:
    """Return the rows of each made part of the page, by its name."""
    config = model.Config(file=Path(), data_root=Path(), run_dir=Path())
    tenant = attrs.fields_dict(model.Tenant)
    top = [*_section(schema.TOP, config, "")]
    return {
        "gateway": [key for key in top if key.path.startswith("gateway.")],
        "admin": [
            *(key for key in top if key.path.startswith("admin.")),
            *(Key(f"admin.{name}", _APART[f"admin.{name}"], "null") for name in ADMIN_TOKENS),
        ],
        "service": [key for key in top if not key.path.startswith(("gateway.", "admin."))],
        "defaults": [*_section(schema.SETTINGS, model.Settings(), "defaults.")],
        "tenant": [
            *(Key(name, _APART[name], _DEFAULTS[name]) for name in schema.TENANT_TOKENS),
            *(
                # A data directory has no default of its own in the model: it is below data_root.
                Probe(reader, None if name == "data_dir" else tenant[name].default).key(name)
                for name, reader in schema.TENANT_KEYS.items()
            ),
        ],
    }


def _section(section: schema.Section, values: Any, prefix: str) -> Iterator[Key]:
    for name, reader in section.keys.items():
        path, value = prefix + name, getattr(values, name)
        if isinstance(reader, schema.Section):
            yield from _section(reader, value, f"{path}.")
        else:
            yield Probe(reader, value).key(path)


def render(page: str) -> str:
    """Return docs/configuration.md with its tables made anew. Raises PageError."""
    meanings = {row["key"]: row["meaning"] for row in _ROW.finditer(page)}
    tables = keys()

    def make(name: str, _: str) -> str:
        rows = tables[name]
        lacking = [key.path for key in rows if key.path not in meanings]
        if lacking:
            raise PageError(f"docs/configuration.md: no row says what these mean: {lacking}")
        lines = (
            f"| `{key.path}` | {key.kind} | `{key.default}` | {meanings[key.path]} |\n"
            for key in rows
        )
        return f"\n{_HEAD}{''.join(lines)}\n".replace(" |  |", " | |")

    return remade(page, make)
