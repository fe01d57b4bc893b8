"""A configuration through the pieces in which it goes from one process to another."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor

from sqsuper.config.load import load
from sqsuper.config.model import Config
from sqsuper.reloading.reader import PIECE, GarbledError, read, write
from sqsuper.reloading.reading import Reading, RefusedError
from sqsuper.slices import Slices
from tests.unit.supervisor.support import in_reactor


def configuration(directory: Path, count: int = 2 * PIECE + 1, **more: Any) -> Path:
    file = directory / "tenants.yaml"
    lines = [f"{key}: {value}" for key, value in more.items()] + ["tenants:"]
    for number in range(count):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        own = ", queue: 1" if number % 7 == 3 else ""
        lines.append(f'  t{number}: {{token_sha256: ["{digest}"]{own}}}')
    file.write_text("\n".join(lines) + "\n")
    return file


def through(file: Path, running: Config) -> Config | str:
    out = BytesIO()
    write(file, out)
    return finished(out.getvalue(), running)


def finished(written: bytes, running: Config) -> Config | str:
    steps = read(written, running)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: Config | str = done.value
            return found


def empty(file: Path) -> Config:
    return Config(file=file, data_root=file, run_dir=file)


def test_it_is_the_same_on_the_other_side(tmp_path: Path) -> None:
    file = configuration(tmp_path, gateway="{trusted_proxies: [10.0.0.0/8]}")
    found = through(file, empty(file))
    assert found == load(file)
    assert isinstance(found, Config)
    # What has the defaults shares them there too.
    assert len({id(one.settings) for one in found.tenants if one.settings.queue == 128}) == 1


def test_who_did_not_change_is_the_same_object(tmp_path: Path) -> None:
    file = configuration(tmp_path)
    running = load(file)
    text = file.read_text()
    file.write_text(text.replace("queue: 1", "queue: 2"))
    found = through(file, running)
    assert isinstance(found, Config)
    assert found == load(file)
    for before, after in zip(running.tenants, found.tenants, strict=True):
        assert (before is after) == (before.settings.queue == 128)
    # One line further down: all but that is the same.
    file.write_text("# a comment\n" + text)
    found = through(file, running)
    assert found == load(file)
    assert isinstance(found, Config)
    for before, after in zip(running.tenants, found.tenants, strict=True):
        assert before.settings is after.settings
        assert before.tokens is after.tokens


def test_an_error_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "tenants.yaml"
    file.write_text("tenants:\n  alice: {nonsense: 1}\n")
    found = through(file, empty(file))
    assert isinstance(found, str)
    assert found.startswith(f"{file}:2: tenants.alice.nonsense: ")


def test_what_is_cut_is_refused(tmp_path: Path) -> None:
    file = configuration(tmp_path)
    out = BytesIO()
    write(file, out)
    whole = out.getvalue()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        with pytest.raises(GarbledError):
            finished(whole[:length], empty(file))


def reading(patience: float = 60.0) -> Reading:
    return Reading(reactor, Slices(reactor), patience)


@in_reactor
async def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = configuration(tmp_path)
    running = attrs.evolve(load(file), tenants=load(file).tenants[:5])
    assert await reading().read(running) == load(file)
    file.write_text("")
    with pytest.raises(RefusedError, match="is empty"):
        await reading().read(running)


@in_reactor
async def test_a_reader_that_hangs_is_killed(tmp_path: Path) -> None:
    one = reading(patience=0.01)
    with pytest.raises(RefusedError, match=r"longer than 0\.01 s"):
        await one.read(empty(configuration(tmp_path)))


@in_reactor
async def test_a_reader_that_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqsuper.reloading.reading.BOOT", "raise SystemExit('no luck')")
    file = configuration(tmp_path)
    with pytest.raises(RefusedError, match=f"{file}: cannot be read: no luck"):
        await reading().read(empty(file))
    assert os.path.exists(file)
