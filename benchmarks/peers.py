"""What is measured, as processes: the real sq, our engine, a plain source and sink.

Everything listens on loopback, lives in a temporary directory, and is ended, with all of its
session, when the block that started it ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import psutil

from tests.running import ROOT, environment, eventually, free_port, listens

KEY = "benchmark-key"
TOKEN = "pmb-v1-0123456789abcdef0123456789abcdef"  # noqa: S105 - lives as long as this run
ODYSSEY = ROOT / "conf" / "demo" / "the-odyssey.phext"
SELECT = "/api/v2/select?p=the-odyssey&c=1.1.1/1.1.1/1.1.2"


class MissingError(Exception):
    """A program that is not installed."""

    def __init__(self, program: str) -> None:
        super().__init__(f"{program} is not installed")
        self.program = program


@attrs.frozen
class Peer:
    """Something that answers requests with `token` on a loopback port.

    `process`: whose CPU time counts (a proxy's, with its workers), if any. `closes`: it ends
    each connection after one answer, so an end is no error of it.
    """

    port: int
    token: str = TOKEN
    process: psutil.Process | None = None
    workers: bool = False
    closes: bool = False
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def processes(self) -> list[psutil.Process]:
        """Return the processes that relay, a proxy's workers included."""
        if self.process is None:
            return []
        return [self.process, *(self.process.children() if self.workers else ())]

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far, user and system."""
        times = [process.cpu_times() for process in self.processes()]
        return float(sum(time.user + time.system for time in times))


def installed(program: str) -> bool:
    """Whether a program is there."""
    return shutil.which(program) is not None


def program(name: str) -> str:
    """Return a program's path. Raises MissingError."""
    path = shutil.which(name)
    if path is None:
        raise MissingError(name)
    return path


@contextlib.contextmanager
def process(command: Sequence[str], directory: Path, port: int) -> Iterator[psutil.Process]:
    """Run a program until the block ends; gives it once it listens on `port`."""
    with open(directory / f"{Path(command[0]).name}.output", "ab") as output:
        started = subprocess.Popen(
            command,
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        eventually(lambda: started.poll() is not None or listens(port), f"{command[0]} listens", 20)
        if started.poll() is not None:
            text = (directory / f"{Path(command[0]).name}.output").read_text(errors="replace")
            raise RuntimeError(f"{command[0]} ended with {started.returncode}: {text[-500:]}")
        yield psutil.Process(started.pid)
    finally:
        # Its workers belong to its session: none of them may stay.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def data_directory(parent: Path, name: str) -> Path:
    """Return a new data directory that holds The Odyssey."""
    directory = parent / name
    directory.mkdir(mode=0o700)
    shutil.copy(ODYSSEY, directory)
    return directory


@contextlib.contextmanager
def real_sq(directory: Path) -> Iterator[Peer]:
    """Run the real sq without any gateway."""
    sq, port = program("sq"), free_port()
    data = data_directory(directory, f"sq-{port}")
    command = [sq, "host", str(port), "--key", KEY, "--data-dir", str(data)]
    with process(command, data, port):
        yield Peer(port, KEY, closes=True)


@contextlib.contextmanager
def engine(directory: Path) -> Iterator[Peer]:
    """Run our engine by hand."""
    port = free_port()
    data = data_directory(directory, f"engine-{port}")
    command = [sys.executable, "-m", "sqsuper.engine", "host", str(port), "--key", KEY]
    with process([*command, "--data-dir", str(data)], data, port):
        yield Peer(port, KEY)


SINK = [sys.executable, str(Path(__file__).with_name("sink.py"))]


@contextlib.contextmanager
def sink(directory: Path) -> Iterator[Peer]:
    """Run the source and sink of `benchmarks.sink`."""
    port = free_port()
    home = directory / f"sink-{port}"
    home.mkdir(mode=0o700)
    with process([*SINK, str(port)], home, port):
        yield Peer(port, KEY)


def settle(seconds: float = 0.2) -> None:
    """Let what one run left behind (connections that close) be over before the next."""
    time.sleep(seconds)
