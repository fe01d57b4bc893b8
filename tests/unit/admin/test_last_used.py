"""When tokens were used: kept over restarts, whatever became of the file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher

from sqsuper.admin.last_used import (
    ASIDE,
    FILE,
    INTERVAL,
    MAX_BYTES,
    DamagedError,
    LastUsed,
    newest,
    read,
    text_of,
)
from sqsuper.config.load import load
from sqsuper.config.overlay import Patch, overlay_of, render_overlay
from tests.unit.admin.support import ONE, TWO, configured
from tests.unit.reactors import Immediate

FIRST, SECOND, OTHER = bytes.fromhex(ONE), bytes.fromhex(TWO), b"\x33" * 32
NOW = 1_893_456_000.25


class World:
    """A service, and what its gateway would tell."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = configured(directory)
        self.reactor = Immediate()
        self.admitted: dict[bytes, float] = {}
        self.lines: list[str] = []
        self.services: list[LastUsed] = []
        self.root.mkdir()

    @property
    def root(self) -> Path:
        return self.directory / "data"

    def start(self) -> LastUsed:
        """Start one as after a restart of the service: the gateway knows nothing yet."""
        self.admitted.clear()
        one = LastUsed(self.admitted.get, lambda: self.config, self.root, self.reactor)
        self.services.append(one)
        done(one.startService())
        return one

    def revoke(self, digest: bytes) -> None:
        overlay = overlay_of(self.config.file)
        overlay.parent.mkdir(mode=0o700, exist_ok=True)
        overlay.touch(mode=0o600)
        overlay.write_text(render_overlay({"human": Patch(revoked=(digest,))}))
        self.config = load(self.config.file)

    def saved(self) -> dict[bytes, float]:
        return read(self.root / FILE)

    def minute(self) -> None:
        self.reactor.advance(INTERVAL)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)

    def heard(event: Any) -> None:
        if event["log_namespace"].startswith("sqsuper.admin.last_used"):
            one.lines.append(formatEvent(event))

    observer: Any = heard
    globalLogPublisher.addObserver(observer)
    yield one
    globalLogPublisher.removeObserver(observer)
    for service in one.services:
        if service.running:
            done(service.stopService())
    assert one.reactor.getDelayedCalls() == []


def done(deferred: Deferred[None]) -> None:
    results: list[None] = []
    deferred.addCallback(results.append)
    assert results == [None]


def test_over_a_restart(world: World) -> None:
    one = world.start()
    assert one.used(FIRST) is None
    world.admitted[FIRST] = NOW
    assert one.used(FIRST) == NOW
    done(one.stopService())
    file = world.root / FILE
    assert file.stat().st_mode & 0o777 == 0o600
    again = world.start()
    assert (again.used(FIRST), again.used(SECOND)) == (NOW, None)
    # The clock was set back: what this start saw is newer all the same.
    world.admitted[FIRST] = NOW - 1000
    assert again.used(FIRST) == NOW - 1000
    done(again.stopService())
    assert world.saved() == {FIRST: NOW - 1000}
    assert world.lines == []


def test_saved_once_a_minute_when_something_changed(world: World) -> None:
    world.start()
    file = world.root / FILE
    world.minute()
    assert not file.exists()
    world.admitted[FIRST] = NOW
    world.reactor.advance(INTERVAL - 1)
    assert not file.exists()
    world.reactor.advance(1)
    assert world.saved() == {FIRST: NOW}
    file.unlink()
    world.admitted[FIRST] += 0.5  # as two clocks run apart
    world.minute()
    assert not file.exists()
    world.admitted[FIRST] += 1
    world.minute()
    assert world.saved() == {FIRST: NOW + 1.5}


def test_only_of_tokens_that_there_are(world: World) -> None:
    file = world.root / FILE
    file.write_text(text_of({FIRST: 1.0, SECOND: 2.0, OTHER: 3.0}))
    one = world.start()
    world.admitted[FIRST] = NOW
    world.minute()
    assert world.saved() == {FIRST: NOW, SECOND: 2.0}
    assert one.used(OTHER) is None


def test_of_a_token_that_the_overlay_revokes(world: World) -> None:
    one = world.start()
    world.admitted[SECOND] = NOW
    assert one.used(SECOND) == NOW  # as who revokes it asks
    world.revoke(SECOND)
    world.admitted.clear()
    world.minute()
    assert one.used(SECOND) == NOW
    assert world.saved() == {SECOND: NOW}
    world.admitted[FIRST] = NOW
    overlay = overlay_of(world.config.file)
    overlay.write_text("tenants: [")
    world.minute()
    assert world.saved() == {FIRST: NOW, SECOND: NOW}
    overlay.unlink()
    world.admitted[FIRST] += 5
    world.minute()
    assert world.saved() == {FIRST: NOW + 5}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0\xff",
        "[" * 100_000,
        "[]",
        '{"format": 1}',
        '{"format": 2, "tokens": {}}',
        '{"format": 1, "tokens": {"ab": 1}}',
        f'{{"format": 1, "tokens": {{"{"A" * 64}": 1}}}}',
        *(
            f'{{"format": 1, "tokens": {{"{ONE}": {at}}}}}'
            for at in ("NaN", "-1", "true", '"1"', "Infinity", "9" * 400, "1e300")
        ),
        " " * (MAX_BYTES + 1),
    ],
    ids=range(16),
)
def test_a_damaged_file_is_put_aside(world: World, text: str) -> None:
    file = world.root / FILE
    file.write_text(text, encoding="latin-1")
    one = world.start()
    (line,) = world.lines
    assert str(file) in line
    assert (world.root / ASIDE).read_text(encoding="latin-1") == text
    world.admitted[FIRST] = NOW
    done(one.stopService())
    assert world.saved() == {FIRST: NOW}


def test_a_file_that_cannot_be_read(world: World) -> None:
    (world.root / FILE).mkdir()
    world.start()
    assert len(world.lines) == 1
    assert sorted(os.listdir(world.root)) == [ASIDE]


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_what_is_no_file_of_ours_is_not_waited_for(world: World, kind: str) -> None:
    file, other = world.root / FILE, world.root / "other"
    other.write_text(text_of({FIRST: NOW}))
    if kind == "link":
        file.symlink_to(other)
    else:
        os.mkfifo(file)
    one = world.start()
    assert one.used(FIRST) is None
    assert str(world.root / ASIDE) in world.lines[0]
    world.admitted[SECOND] = NOW
    done(one.stopService())
    assert world.saved() == {SECOND: NOW}
    assert read(other) == {FIRST: NOW}


def test_what_cannot_be_put_aside_is_said_to_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.root / FILE).write_text("x")

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr("sqsuper.admin.last_used.os.replace", refuse)
        world.start()
    (line,) = world.lines
    assert "stays there" in line


def test_a_disk_that_is_full_is_told_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    world.admitted[FIRST] = NOW

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sqsuper.admin.last_used.replace", full)
        world.minute()
        world.minute()
        (line,) = world.lines
        assert "No space left" in line
    world.minute()
    assert world.saved() == {FIRST: NOW}


def test_no_more_than_so_many() -> None:
    used = {bytes([number]) * 32: float(number) for number in range(9)}
    assert newest(used, 9) == used
    assert sorted(newest(used, 3).values()) == [6.0, 7.0, 8.0]


@given(
    st.dictionaries(
        st.binary(min_size=32, max_size=32),
        st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000),
        max_size=5,
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, used: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "used.json"
    file.write_text(text_of(used))
    assert read(file) == used
    told = json.loads(file.read_text())
    assert told["tokens"].keys() == {digest.hex() for digest in used}


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_damaged(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_bytes(content)
    with pytest.raises(DamagedError):
        read(file)
