"""All errors of a configuration, where `config.load` stops at the first.

What is wrong is told, taken out of what was read, and the rest looked at again, until nothing
is wrong any more. Errors that only follow from what was taken out are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import attrs

from sqsuper.cli.finding import service_account
from sqsuper.config.errors import ConfigError, ExposedError
from sqsuper.config.load import load
from sqsuper.config.located import Mapping, Sequence, Value, format_key
from sqsuper.config.model import Config
from sqsuper.config.source import Document, read_document

MAX_ERRORS = 100
# Seconds: each error takes reading the whole again, which thousands of tenants make long.
PATIENCE = 30.0
# Where a key that is gone is missed because of another one, that one goes too.
_MISSED_BY = {"command": "engine"}


@attrs.frozen
class Survey:
    """`errors` in the order they were found; `config` is there if there are none.

    `complete`: False when more may show once these are mended.
    """

    errors: tuple[ConfigError, ...]
    config: Config | None
    complete: bool = True


def survey(path: Path, clock: Callable[[], float] = time.monotonic) -> Survey:
    """Read and check a configuration whole; make nothing on disk.

    At most `MAX_ERRORS` are found, and none past `PATIENCE` seconds of `clock`.
    """
    end = clock() + PATIENCE
    reading = _Reading()
    service = service_account(path)
    errors: list[ConfigError] = []
    told: set[tuple[str, str, str]] = set()
    while True:
        try:
            config = load(path, reading.read, service)
        except ConfigError as error:
            taken = reading.take_out(error)
            # One file's mode is wrong for each of its tokens, but once.
            fact = (error.file, error.problem, "" if isinstance(error, ExposedError) else taken.key)
            if not taken.consequence and fact not in told:
                told.add(fact)
                errors.append(attrs.evolve(error, key=taken.key))
            if not taken.out or len(errors) >= MAX_ERRORS or clock() > end:
                return Survey(tuple(errors), None, complete=False)
            continue
        return Survey(tuple(errors), None if errors else config)


@attrs.frozen
class _Taken:
    """What became of an error's key: `key` as it is in the file, whether it could be taken out."""

    key: str
    out: bool = False
    consequence: bool = False


@attrs.define
class _Reading:
    """The files' content, read once, from which what is wrong is taken out."""

    documents: dict[str, Document] = attrs.field(factory=dict)
    gone: set[str] = attrs.field(factory=set)
    shifts: dict[int, list[int]] = attrs.field(factory=dict)
    """By a list's id: which of its items are gone, as they were counted at first."""

    def read(self, path: Path, shown: str) -> Document:
        """Return a file's content as it is now. Raises ConfigError the first time alone."""
        if shown not in self.documents:
            self.documents[shown] = read_document(path, shown)
        return self.documents[shown]

    def take_out(self, error: ConfigError) -> _Taken:
        document = self.documents.get(error.file)
        if document is None or not error.key:
            return self._take_file(error)
        found = self._walk(document.root, error)
        if found is None:
            return _Taken(error.key)
        container, at, key, whole = found
        consequence = any(_below(gone, key) for gone in self.gone)
        missed_by = _MISSED_BY.get(whole.rpartition(".")[2], "")
        inner = (
            container.entries[at]
            if isinstance(container, Mapping) and isinstance(at, str)
            else None
        )
        if whole in self.gone and isinstance(inner, Mapping) and missed_by in inner.entries:
            container, at, key = inner, missed_by, format_key(key, missed_by)
        self.gone.add(key)
        if isinstance(container, Mapping):
            assert isinstance(at, str)
            del container.entries[at]
            del container.lines[at]
        else:
            assert isinstance(at, int)
            del container.items[at]
            gone = self.shifts.setdefault(id(container), [])
            gone.append(_first(gone, at))
            gone.sort()
        return _Taken(whole, out=True, consequence=consequence)

    def _take_file(self, error: ConfigError) -> _Taken:
        """Go on without an included file that cannot be read at all."""
        main = not self.documents
        document = self.documents.get(error.file)
        if main or document is not None:
            return _Taken(error.key)
        first = next(iter(self.documents.values()))
        self.documents[error.file] = attrs.evolve(first, root=Mapping({}, {}, None))
        return _Taken(error.key, out=True)

    def _walk(
        self, root: Mapping, error: ConfigError
    ) -> tuple[Mapping | Sequence, str | int, str, str] | None:
        """Return the deepest place that an error's key names.

        As container, key in it, that place's path, and the whole key, as they were at first.
        """
        found: tuple[Mapping | Sequence, str | int, str] | None = None
        value: Value = root
        now = first = ""
        while True:
            step = self._step(value, now, first, error)
            if step is None:
                break
            at, now, first = step
            assert isinstance(value, (Mapping, Sequence))
            found = (value, at, first)
            value = value.entries[at] if isinstance(value, Mapping) else value.items[at]  # type: ignore[index]
        return None if found is None else (*found, first + error.key[len(now) :])

    def _step(
        self, value: Value, now: str, first: str, error: ConfigError
    ) -> tuple[str | int, str, str] | None:
        """Return what of `value` the error's key names: key in it, path now, path at first."""
        if now == error.key:
            return None
        if isinstance(value, Mapping):
            for key in value.entries:
                if _below(error.key, format_key(now, key)):
                    return key, format_key(now, key), format_key(first, key)
            for key, line in value.lines.items():
                # An unknown key may have been shortened.
                if line is not None and line == error.line and now and _parent(error.key, now):
                    return key, error.key, error.key
        elif isinstance(value, Sequence):
            gone = self.shifts.get(id(value), [])
            for number in range(len(value.items)):
                if _below(error.key, f"{now}[{number}]"):
                    return number, f"{now}[{number}]", f"{first}[{_first(gone, number)}]"
        return None


def _first(gone: list[int], number: int) -> int:
    """Return where an item was at first, of a list that has lost those of `gone` (sorted)."""
    for one in gone:
        if one <= number:
            number += 1
    return number


def _below(key: str, above: str) -> bool:
    """Whether a key path is `above` or stands below it."""
    return key == above or key.startswith((above + ".", above + "["))


def _parent(key: str, above: str) -> bool:
    """Whether a key path names a key of `above` itself."""
    below = key[len(above) + 1 :]
    quoted = below.startswith('"') and below.find('"', 1) == len(below) - 1
    return key.startswith(above + ".") and (quoted or "." not in below)
