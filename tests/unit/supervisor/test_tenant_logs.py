"""Children's lines: to the log, to files that rotate, the last ones to memory."""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqsuper.config.model import Log
from sqsuper.supervisor import log_files, log_writer
from sqsuper.supervisor.log_files import LogFiles
from sqsuper.supervisor.log_writer import LogWriter
from sqsuper.supervisor.tenant_logs import (
    KEPT_CHARACTERS,
    KEPT_ERRORS,
    KEPT_LINES,
    LONGEST_ERROR,
    Line,
    Recent,
    TenantLogs,
)
from tests.running import eventually
from tests.unit.supervisor.support import logged


@attrs.define
class FakeReactor:
    """Time set by hand; calls from other threads at once."""

    now: float = 0.0

    def seconds(self) -> float:
        return self.now

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        call(*arguments)


# Files


def files(directory: Path, max_bytes: int = 100, keep: int = 2) -> LogFiles:
    return LogFiles(directory, max_bytes, keep, lambda: 0.0)


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(directory.iterdir())}


def test_files_rotate_and_the_oldest_goes(tmp_path: Path) -> None:
    log = files(tmp_path / "logs", max_bytes=20)
    for number in range(9):
        log.append("alice", b"line %d of it\n" % number)
    log.close()
    assert contents(tmp_path / "logs") == {
        "alice.log": "line 8 of it\n",
        "alice.log.1": "line 7 of it\n",
        "alice.log.2": "line 6 of it\n",
    }


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=6), max_size=12),
    st.integers(0, 3),
)
def test_no_line_is_torn_and_no_file_too_long(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]], keep: int
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    log = files(directory, max_bytes=30, keep=keep)
    expected = []
    for number, lengths in enumerate(batches):
        lines = [b"%d:%b\n" % (number, b"x" * length) for length in lengths]
        log.append("a", b"".join(lines))
        expected += [line.decode() for line in lines]
    log.close()
    found = contents(directory)
    assert len(found) <= keep + 1
    for text in found.values():
        assert len(text) <= 30 or text.count("\n") == 1
    names = ["a.log", *(f"a.log.{number}" for number in range(1, keep + 1))]
    whole = "".join(found.get(name, "") for name in reversed(names))
    # The newest are all there, in order.
    assert "".join(expected).endswith(whole)
    assert not expected or found["a.log"].endswith(expected[-1])


def test_modes(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        log = files(tmp_path / "logs")
        log.append("alice", b"x\n")
        log.close()
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "logs/alice.log").stat().st_mode) == 0o600


@pytest.mark.parametrize("trap", ["link", "dangling", "fifo", "directory"])
def test_nothing_but_a_file_is_written_to(tmp_path: Path, trap: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    directory = tmp_path / "logs"
    directory.mkdir()
    place = directory / "alice.log"
    if trap == "link":
        place.symlink_to(victim)
    elif trap == "dangling":
        place.symlink_to(tmp_path / "made")
    elif trap == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    log = files(directory)
    with pytest.raises(OSError, match=r"\w"):
        log.append("alice", b"x\n")
    log.append("bob", b"x\n")
    log.close()
    assert victim.read_text() == "untouched"
    assert not (tmp_path / "made").exists()
    assert (directory / "bob.log").read_text() == "x\n"


def test_few_are_open_and_not_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "MAX_OPEN", 3)
    now = 0.0
    log = LogFiles(tmp_path, 100, 1, lambda: now)
    for name in "abcd":
        log.append(name, b"1\n")
        assert log.open_count <= 3
    log.append("a", b"2\n")
    now = log_files.IDLE_SECONDS - 1
    log.append("d", b"2\n")
    log.tidy()
    assert log.open_count == 3
    now = log_files.IDLE_SECONDS + 1
    log.tidy()
    assert log.open_count == 1
    log.close()
    assert contents(tmp_path) == {
        "a.log": "1\n2\n",
        "b.log": "1\n",
        "c.log": "1\n",
        "d.log": "1\n2\n",
    }


def test_half_a_line_is_taken_back_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = files(tmp_path)
    log.append("a", b"whole\n")
    real_write, room = os.write, 3

    def write(fd: int, data: memoryview) -> int:
        nonlocal room
        if room == 0:
            raise OSError(28, "No space left on device")
        taken, room = real_write(fd, data[:room]), 0
        return taken

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        log.append("a", b"another\n")
    monkeypatch.undo()
    log.append("a", b"third\n")
    log.close()
    assert contents(tmp_path) == {"a.log": "whole\nthird\n"}


# The writer


class GatedFiles(LogFiles):
    """Files that take nothing until they may."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, 1 << 20, 1, time.monotonic)
        self.gate = threading.Event()
        self.entered = threading.Event()

    def append(self, tenant: str, lines: bytes) -> None:
        self.entered.set()
        self.gate.wait(30)
        super().append(tenant, lines)


def lost_line(count: int) -> bytes:
    return b"lost %d\n" % count


def test_a_disk_that_hangs_holds_up_nobody_and_costs_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "MAX_PENDING", 100)
    gated = GatedFiles(tmp_path)
    writer = LogWriter(gated, lost_line=lost_line, failed=lambda why: None)
    writer.append("a", b"first\n")
    assert gated.entered.wait(10)
    for _ in range(30):
        writer.append("a", b"123456789\n")
    assert not writer.close(0.01)
    gated.gate.set()
    assert writer.close(10)
    assert (tmp_path / "a.log").read_text() == "first\nlost 20\n" + "123456789\n" * 10


def test_what_could_not_be_written_is_counted_in_the_file(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.write_text("in the way")
    failures: list[str] = []
    writer = LogWriter(files(directory), lost_line=lost_line, failed=failures.append)
    writer.append("a", b"1\n2\n")
    eventually(lambda: failures)
    directory.unlink()
    writer.append("a", b"3\n")
    assert writer.close(10)
    assert (directory / "a.log").read_text() == "lost 2\n3\n"
    assert str(directory) in failures[0]


def test_reopened(tmp_path: Path) -> None:
    writer = LogWriter(files(tmp_path), lost_line=lost_line, failed=lambda why: None)
    writer.append("a", b"1\n")
    eventually((tmp_path / "a.log").exists)
    eventually((tmp_path / "a.log").read_text)
    os.rename(tmp_path / "a.log", tmp_path / "moved")
    writer.reopen()
    writer.append("a", b"2\n")
    assert writer.close(10)
    assert contents(tmp_path) == {"a.log": "2\n", "moved": "1\n"}


def test_without_a_line_there_is_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    writer = LogWriter(files(tmp_path), lost_line=lost_line, failed=lambda why: None)
    writer.reopen()
    assert threading.active_count() == before
    assert writer.close(0)


# In memory


def lines(*texts: str, stream: str = "stdout") -> list[Line]:
    return [Line(0.0, stream, text) for text in texts]


def test_the_last_lines_are_kept_within_bounds() -> None:
    recent = Recent()
    recent.add(lines(*map(str, range(1000))))
    assert [line.text for line in recent.lines] == [str(n) for n in range(1000 - KEPT_LINES, 1000)]
    for _ in range(20):
        recent.add(lines("x" * 8192))
    assert sum(len(line.text) for line in recent.lines) <= KEPT_CHARACTERS
    assert len(recent.lines) == KEPT_CHARACTERS // 8192


def test_errors_are_not_pushed_out_by_other_lines() -> None:
    recent = Recent()
    recent.add(lines(*(f"error {n}" for n in range(30)), stream="stderr"))
    recent.add(lines("y" * 5000, stream="stderr"))
    recent.add(lines(*map(str, range(1000))))
    assert [line.text for line in recent.errors] == [
        *(f"error {n}" for n in range(31 - KEPT_ERRORS, 30)),
        "y" * LONGEST_ERROR,
    ]


# All of it


@pytest.fixture
def made() -> Iterator[list[TenantLogs]]:
    logs: list[TenantLogs] = []
    yield logs
    for one in logs:
        one.close()


def test_lines_go_everywhere(tmp_path: Path, made: list[TenantLogs]) -> None:
    logs = TenantLogs(Log(dir=tmp_path), reactor=FakeReactor(), wall_clock=lambda: 1.5)
    made.append(logs)
    logs.open()
    followed: list[tuple[str, Sequence[Line]]] = []

    def broken(tenant: str, lines: Sequence[Line]) -> None:
        raise RuntimeError("a follower of no use")

    logs.follow(broken)
    end = logs.follow(lambda tenant, lines: followed.append((tenant, lines)))
    with logged() as entries:
        logs.lines("alice", "stdout", ["one {braces}", "two"])
        end()
        logs.lines("alice", "stderr", ["bad \u2713"])
        logs.dropped("alice", "stderr", 7)
    logs.close()
    assert entries[:2] == ["alice stdout: one {braces}", "alice stdout: two"]
    assert "alice stderr: 7 lines dropped" in entries
    assert followed == [
        ("alice", [Line(1.5, "stdout", "one {braces}"), Line(1.5, "stdout", "two")])
    ]
    assert [line.text for line in logs.recent("alice")] == [
        "one {braces}",
        "two",
        "bad \u2713",
        "7 lines of stderr dropped",
    ]
    assert logs.errors("alice") == ["bad \u2713"]
    assert (tmp_path / "alice.log").read_text() == (
        "1970-01-01T00:00:01.500Z stdout one {braces}\n"
        "1970-01-01T00:00:01.500Z stdout two\n"
        "1970-01-01T00:00:01.500Z stderr bad \u2713\n"
        "1970-01-01T00:00:01.500Z sqsuper 7 lines of stderr dropped\n"
    )
    logs.forget_all_but({"alice"})
    assert len(logs.recent("alice")) == 4
    logs.forget_all_but(set())
    assert logs.recent("alice") == []


def test_a_flood_is_one_entry_of_the_log(made: list[TenantLogs]) -> None:
    logs = TenantLogs(Log(), reactor=FakeReactor())
    made.append(logs)
    with logged() as entries:
        logs.lines("alice", "stdout", [str(number) for number in range(500)])
    assert entries == ["\n".join(f"alice stdout: {number}" for number in range(500))]


def test_nothing_is_kept_of_who_says_nothing(made: list[TenantLogs]) -> None:
    logs = TenantLogs(Log(), reactor=FakeReactor())
    made.append(logs)
    logs.open()
    assert logs.recent("nobody") == []
    assert logs.errors("nobody") == []
    assert logs._recent == {}


def test_an_unwritable_directory_is_said_once_a_minute(
    tmp_path: Path, made: list[TenantLogs]
) -> None:
    place = tmp_path / "file"
    place.touch()
    reactor = FakeReactor()
    logs = TenantLogs(Log(dir=place), reactor=reactor)
    made.append(logs)
    logs.open()

    def complaints() -> list[str]:
        return [entry for entry in entries if re.search("file.*lines are lost there", entry)]

    with logged() as entries:
        for _ in range(5):
            logs.lines("alice", "stdout", ["x"])
        eventually(complaints)
        reactor.now = 61.0
        logs.lines("alice", "stdout", ["x"])
        eventually(lambda: len(complaints()) == 2)
        logs.close()
    assert len(complaints()) == 2


def test_other_settings_are_taken(tmp_path: Path, made: list[TenantLogs]) -> None:
    logs = TenantLogs(Log(), reactor=FakeReactor(), wall_clock=lambda: 0.0)
    made.append(logs)
    logs.open()
    logs.lines("a", "stdout", ["0"])
    logs.apply(Log(dir=tmp_path / "x"))
    logs.lines("a", "stdout", ["1"])
    logs.apply(Log(dir=tmp_path / "y"))
    logs.lines("a", "stdout", ["2"])
    logs.apply(Log())
    logs.lines("a", "stdout", ["3"])
    for name, text in (("x", "1"), ("y", "2")):
        file = tmp_path / name / "a.log"
        eventually(file.exists)
        eventually(file.read_text)
        assert file.read_text().endswith(f"stdout {text}\n")
