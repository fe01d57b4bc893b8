from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from twisted.logger import (
    LegacyLogObserverWrapper,
    LogPublisher,
    globalLogPublisher,
    textFileLogObserver,
)
from twisted.python.log import FileLogObserver
from twisted.python.logfile import DailyLogFile, LogFile

from sqsuper.reopening import Reopening, log_files
from tests.running import eventually


class Calls:
    """A reactor that keeps what it is given to call."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def callFromThread(self, call: Callable[[], object]) -> None:
        self.calls.append(call)


@pytest.fixture
def handler() -> Iterator[None]:
    """Sees to it that SIGUSR1 means afterwards what it meant before."""
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def older(file: LogFile) -> LegacyLogObserverWrapper:
    return LegacyLogObserverWrapper(FileLogObserver(file).emit)  # type: ignore[arg-type]


@pytest.mark.parametrize("observer", [textFileLogObserver, older])
@pytest.mark.parametrize("kind", [LogFile, DailyLogFile])
def test_a_renamed_file_is_left(
    observer: Callable[[LogFile], LegacyLogObserverWrapper],
    kind: type[LogFile],
    tmp_path: Path,
) -> None:
    path = tmp_path / "twistd.log"
    file = kind.fromFullPath(str(path))
    publisher = LogPublisher(observer(file))
    reopening = Reopening([], reactor=Calls(), publisher=publisher)
    file.write("before\n")
    path.rename(tmp_path / "twistd.log-1")
    reopening.reopen()
    file.write("after\n")
    assert path.read_text() == "after\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "twistd.log-1").read_text() == "before\n"
    # What somebody put there meanwhile stays.
    reopening.reopen()
    file.write("again\n")
    assert path.read_text() == "after\nagain\n"
    file.close()


def test_a_file_that_cannot_be_opened_goes_on_as_it_was(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    file = LogFile.fromFullPath(str(directory / "twistd.log"))
    called: list[str] = []
    reopening = Reopening(
        [lambda: called.append("other")],
        reactor=Calls(),
        publisher=LogPublisher(textFileLogObserver(file)),
    )
    directory.rename(tmp_path / "moved")
    reopening.reopen()
    file.write("line\n")
    assert (tmp_path / "moved" / "twistd.log").read_text() == "line\n"
    assert called == ["other"]
    file.close()


def test_one_that_raises_stops_no_other() -> None:
    called: list[str] = []

    def raises() -> None:
        raise ValueError

    reopening = Reopening(
        [raises, lambda: called.append("other")], reactor=Calls(), publisher=LogPublisher()
    )
    reopening.reopen()
    assert called == ["other"]


def test_streams_have_nothing_to_be_reopened() -> None:
    stream = textFileLogObserver(StringIO())
    assert list(log_files(LogPublisher(stream, lambda _: None))) == []  # type: ignore[arg-type]
    assert all(isinstance(file.path, str) for file in log_files(globalLogPublisher))


def test_the_signal_is_handled_in_the_reactors_turn(handler: None) -> None:
    reactor = Calls()
    called: list[str] = []
    Reopening([lambda: called.append("other")], reactor=reactor, publisher=LogPublisher()).install()
    os.kill(os.getpid(), signal.SIGUSR1)
    eventually(lambda: reactor.calls)
    assert called == []
    reactor.calls[0]()
    assert called == ["other"]


def test_twistd_leaves_the_signal_to_us(
    handler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handler would rotate the file, beside whoever rotates it already."""
    twistd = pytest.importorskip("twisted.scripts._twistd_unix")
    reopening = Reopening([], reactor=Calls(), publisher=LogPublisher())
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    reopening.install()
    logger = twistd.UnixAppLogger({"logfile": str(tmp_path / "twistd.log"), "nodaemon": True})
    observer = logger._getLogObserver()
    assert signal.getsignal(signal.SIGUSR1) == reopening._signalled
    (file,) = log_files(LogPublisher(observer))
    assert file.path == str(tmp_path / "twistd.log")
    file.close()


def test_outside_the_main_thread_nothing_is_installed(handler: None) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    reopening = Reopening([], reactor=Calls(), publisher=LogPublisher())
    thread = threading.Thread(target=reopening.install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGUSR1) == before
