"""The writer of a log, over real files, pipes and devices."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sqsuper.gateway.logfile import PIECE, LogFile
from tests.running import eventually

OpenLog = Callable[[Path | str], LogFile]


@pytest.fixture
def opened() -> Iterator[OpenLog]:
    """Opens logs, and closes them at the end."""
    logs: list[LogFile] = []

    def begin(path: Path | str) -> LogFile:
        log = LogFile(str(path), retry=0.02)
        log.open()
        logs.append(log)
        return log

    yield begin
    for log in logs:
        log.close(2.0)


def test_lines_are_appended_to_a_file_of_its_users_alone(opened: OpenLog, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "access.log"
    log = opened(file)
    log.write(b"one\ntwo\n")
    log.write(b"three\n")
    assert log.close(2.0)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    again = opened(file)
    again.write(b"four\n")
    assert again.close(2.0)
    assert file.read_bytes() == b"one\ntwo\nthree\nfour\n"
    assert again.pending == 0


def test_what_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "file" / "log"):
        (tmp_path / "file").touch()
        with pytest.raises(OSError) as caught:  # noqa: PT011 - which one depends on the path
            LogFile(str(path)).open()
        assert caught.value.filename


def test_a_fifo_without_a_reader_is_an_error_and_no_standstill(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="No such device"):
        LogFile(str(tmp_path / "fifo")).open()


def test_reopening_follows_a_rename_and_loses_nothing(opened: OpenLog, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    log = opened(file)
    for number in range(20):
        log.write(b"%d\n" % number)
        file.rename(tmp_path / f"access.log.{number}")
        log.reopen()
        eventually(file.exists)
    log.write(b"last\n")
    assert log.close(2.0)
    assert file.read_bytes() == b"last\n"
    for number in range(20):
        assert (tmp_path / f"access.log.{number}").read_bytes() == b"%d\n" % number


def test_the_old_file_goes_on_when_reopening_fails(opened: OpenLog, tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    log = opened(directory / "access.log")
    directory.rename(tmp_path / "moved")
    directory.touch()
    log.reopen()
    log.write(b"line\n")
    assert log.close(2.0)
    assert (tmp_path / "moved" / "access.log").read_bytes() == b"line\n"
    assert log.failures == 1
    assert log.problem


def test_a_slow_reader_holds_up_nobody(opened: OpenLog, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = opened(fifo)
        lines = b"".join(b"%06d %s\n" % (n, b"x" * 90) for n in range(20_000))
        log.write(lines)
        assert log.pending > 1_000_000
        assert not log.close(0.1)  # it hangs in a write, and is left behind
        read = b""
        while len(read) < len(lines):
            try:
                read += os.read(reader, 65_536)
            except BlockingIOError:
                continue
        assert read == lines
        eventually(lambda: log.pending == 0)
    finally:
        os.close(reader)


def test_to_a_pipe_whole_lines_go_in_pieces_that_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    pieces: list[bytes] = []
    log = LogFile(str(fifo))

    def write(fd: int, data: bytes) -> int:
        pieces.append(data)
        return len(data)

    monkeypatch.setattr("sqsuper.gateway.logfile.os.write", write)
    try:
        log.open()
        lines = b"".join(b"%s\n" % (b"x" * (n % 700)) for n in range(3000))
        long = b"y" * (3 * PIECE) + b"\n"
        log.write(lines + long + lines)
        assert log.close(5.0)
    finally:
        os.close(reader)
    assert b"".join(pieces) == lines + long + lines
    whole = [bytes(piece) for piece in pieces]
    assert all(piece.endswith(b"\n") for piece in whole)
    assert [piece for piece in whole if len(piece) > PIECE] == [long]


def test_a_full_disk_is_waited_for(opened: OpenLog, tmp_path: Path) -> None:
    full = tmp_path / "log"
    full.symlink_to("/dev/full")
    log = opened(full)
    log.write(b"one\ntwo\n")
    eventually(lambda: log.failures > 2)
    assert log.problem == "No space left on device"
    assert log.pending == 8
    # Whoever makes room elsewhere says so.
    full.unlink()
    log.reopen()
    eventually(lambda: log.pending == 0)
    log.write(b"three\n")
    assert log.close(2.0)
    assert full.read_bytes() == b"one\ntwo\nthree\n"
    assert log.lost == 0


def test_at_the_end_a_full_disk_is_given_up(opened: OpenLog, tmp_path: Path) -> None:
    full = tmp_path / "log"
    full.symlink_to("/dev/full")
    log = opened(full)
    log.write(b"one\ntwo\n")
    log.write(b"three\n")
    assert log.close(2.0)
    assert log.lost == 3


class Disk:
    """`os.write` of a disk on which there is only so much room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def write(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        written = self._write(fd, bytes(data[: self.room]))
        self.room -= written
        return written


@pytest.mark.parametrize("room", range(13))
@pytest.mark.parametrize("other", [False, True])
def test_no_line_is_torn_by_a_full_disk(
    room: int, other: bool, opened: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another writer's lines in between, too, wherever the disk was full."""
    file = tmp_path / "log"
    disk = Disk(room)
    log = opened(file)
    monkeypatch.setattr("sqsuper.gateway.logfile.os.write", disk.write)
    log.write(b"abc\ndef\nghi\n")
    if room < 12:
        eventually(lambda: log.failures)
    assert file.read_bytes() in (b"", b"abc\n", b"abc\ndef\n", b"abc\ndef\nghi\n")
    if other:
        with file.open("ab") as second:
            second.write(b"other\n")
    disk.room = 1 << 30
    assert eventually(lambda: log.pending == 0)
    lines = file.read_bytes().splitlines()
    assert [line for line in lines if line != b"other"] == [b"abc", b"def", b"ghi"]


def test_writers_of_one_file_do_not_mix_lines(opened: OpenLog, tmp_path: Path) -> None:
    file = tmp_path / "log"
    logs = [opened(file) for _ in range(3)]

    def fill(log: LogFile, mark: bytes) -> None:
        for _ in range(50):
            log.write((mark * 300 + b"\n") * 100)

    threads = [
        threading.Thread(target=fill, args=(log, mark))
        for log, mark in zip(logs, (b"a", b"b", b"c"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        assert log.close(10.0)
    lines = file.read_bytes().splitlines()
    assert len(lines) == 15_000
    assert set(lines) == {b"a" * 300, b"b" * 300, b"c" * 300}


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    log = LogFile("-")
    log.open()
    log.write(b"one\n")
    log.reopen()
    log.write(b"two\n")
    assert log.close(2.0)
    assert capfd.readouterr().out == "one\ntwo\n"
