"""Reads a configuration in a process of its own, and writes it out in pieces.

    python -I -c BOOT PATHS FILE

Parsing and checking thousands of tenants takes seconds, in which this process holds up nobody.
On standard output stand pickled values, one behind the other: first `None` or, where the
configuration is refused, the one line that says why; then the configuration without its
tenants; then for `PIECE` tenants at a time the settings that are new, and the tenants; at the
end `None`. Who reads them does so in as many steps, and keeps what is as it was.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO

import attrs

from sqsuper.config.diff import same_if_equal
from sqsuper.config.errors import ConfigError
from sqsuper.config.load import load
from sqsuper.config.model import Config, Settings, Tenant
from sqsuper.interpreter import FIND_OURS

PIECE = 50
NICE = 5

# What a new interpreter does first.
BOOT = FIND_OURS + ("from sqsuper.reloading.reader import main;main(sys.argv[1])")


class GarbledError(Exception):
    """What a reader wrote is not whole."""


class _Pickler(pickle.Pickler):
    """Names settings that went before, by their number, instead of writing them again."""

    def __init__(self, out: IO[bytes], numbers: Mapping[int, int]) -> None:
        super().__init__(out, protocol=pickle.HIGHEST_PROTOCOL)
        self._numbers = numbers

    def persistent_id(self, obj: object) -> int | None:
        return self._numbers.get(id(obj)) if type(obj) is Settings else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], settings: Sequence[Settings]) -> None:
        super().__init__(file)
        self._settings = settings

    def persistent_load(self, pid: int) -> Settings:
        return self._settings[pid]


def write(file: Path, out: IO[bytes]) -> None:
    """Read the configuration `file` and write it, or why it is refused, to `out`."""
    try:
        config = load(file)
    except ConfigError as error:
        pickle.dump(str(error), out)
        return
    pickle.dump(None, out)
    pickle.dump(attrs.evolve(config, tenants=()), out)
    numbers: dict[int, int] = {}
    for start in range(0, len(config.tenants), PIECE):
        piece = config.tenants[start : start + PIECE]
        new = {id(one.settings): one.settings for one in piece if id(one.settings) not in numbers}
        pickle.dump(tuple(new.values()), out)
        numbers |= {key: len(numbers) + at for at, key in enumerate(new)}
        _Pickler(out, numbers).dump(piece)
    pickle.dump(None, out)


def read(written: bytes, running: Config) -> Generator[None, None, Config | str]:
    """Return what `write` wrote: the configuration, or why it is refused.

    A tenant that is as it was in `running` is the same object; where only its place in the
    file is another one, all of it but that. A pause is offered after each piece. Raises
    GarbledError.
    """
    file = BytesIO(written)
    try:
        refused: str | None = pickle.load(file)  # noqa: S301 - our own child wrote it
        if refused is not None:
            return refused
        config: Config = pickle.load(file)  # noqa: S301
        before = {tenant.name: tenant for tenant in running.tenants}
        settings: list[Settings] = []
        tenants: list[Tenant] = []
        while (new := pickle.load(file)) is not None:  # noqa: S301
            settings += new
            for tenant in _Unpickler(file, settings).load():
                tenants.append(same_if_equal(before.get(tenant.name), tenant))
            yield
    except (EOFError, pickle.UnpicklingError) as error:
        raise GarbledError(str(error)) from None
    return attrs.evolve(config, tenants=tuple(tenants))


def main(file: str) -> None:
    """Be the reader's process."""
    with suppress(OSError, AttributeError):  # not everywhere
        os.nice(NICE)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else gets between
    with out:
        write(Path(file), out)
    sys.stderr.flush()
