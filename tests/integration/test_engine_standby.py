"""An engine that waits for the data directory of the one before it."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running import ROOT, eventually

HOST = (sys.executable, "-m", "sqsuper.engine", "host")


class Engine:
    """One engine as a supervisor starts it."""

    def __init__(self, data: Path, number: int, patience: str) -> None:
        self.path = data.with_name(f"{number}.sock")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.path))
        listening.listen()
        control, self.control = os.pipe()
        self.report, report = os.pipe()
        passed = (listening.fileno(), control, report)
        words = ["--listen-fd", "--control-fd", "--report-fd"]
        pairs = [word for pair in zip(words, map(str, passed), strict=True) for word in pair]
        self.process = subprocess.Popen(
            [*HOST, "--data-dir", str(data), *pairs, "--lock-seconds", patience],
            cwd=ROOT,
            pass_fds=passed,
            stderr=subprocess.PIPE,
        )
        for fd in (control, report):
            os.close(fd)
        listening.close()
        os.write(self.control, json.dumps({"key": "K", "tokens": []}).encode() + b"\n")

    def event(self, seconds: float = 20.0) -> dict[str, Any] | None:
        """Return the next report, None if none comes."""
        if not select.select([self.report], [], [], seconds)[0]:
            return None
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self.report, 1)
            if not byte:
                return None
            line += byte
        event: dict[str, Any] = json.loads(line)
        return event

    def ask(self, method: str, what: str, body: bytes | None = None) -> str:
        connection = http.client.HTTPConnection("engine")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(20)
        connection.sock.connect(str(self.path))
        headers = {"Authorization": "Bearer K"}
        connection.request(method, f"/api/v2/{what}", body, headers)
        response = connection.getresponse()
        answer = response.read().decode()
        connection.close()
        assert response.status == 200, answer
        return answer

    def close(self) -> None:
        self.hang_up()
        os.close(self.report)
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def hang_up(self) -> None:
        """The supervisor is gone."""
        if self.control >= 0:
            os.close(self.control)
            self.control = -1


class Engines:
    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        self.all: list[Engine] = []

    def __call__(self, patience: str = "60") -> Engine:
        self.all.append(Engine(self.data, len(self.all), patience))
        return self.all[-1]


@pytest.fixture
def engines(short_dir: Path) -> Iterator[Engines]:
    engines = Engines(short_dir)
    yield engines
    for engine in engines.all:
        engine.close()


@pytest.fixture
def first(engines: Engines) -> Engine:
    first = engines()
    assert first.event() == {"event": "ready"}
    return first


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_it_serves_what_the_one_before_acknowledged(
    engines: Engines, first: Engine, signum: int
) -> None:
    second = engines()
    assert second.event() == {"event": "standby"}
    first.ask("POST", "update?p=a&c=1.1.1/1.1.1/1.1.1", b"kept")
    first.process.send_signal(signum)
    assert second.event() == {"event": "ready"}
    assert second.ask("GET", "select?p=a&c=1.1.1/1.1.1/1.1.1") == "kept"


def test_it_does_not_wait_for_ever(engines: Engines, first: Engine) -> None:
    second = engines("0.2")
    assert second.event() == {"event": "standby"}
    assert second.process.wait(20) == 1
    assert second.process.stderr is not None
    assert str(first.process.pid) in second.process.stderr.read().decode()
    assert first.ask("GET", "version")


def test_it_can_be_told_to_end_meanwhile(engines: Engines, first: Engine) -> None:
    second = engines()
    assert second.event() == {"event": "standby"}
    second.process.terminate()
    assert second.process.wait(20) == -signal.SIGTERM


def test_when_the_supervisor_dies_both_end(engines: Engines, first: Engine) -> None:
    second = engines()
    assert second.event() == {"event": "standby"}
    first.ask("POST", "update?p=a&c=1.1.1/1.1.1/1.1.1", b"kept")
    second.hang_up()
    first.hang_up()
    eventually(lambda: first.process.poll() is not None and second.process.poll() is not None)
    third = engines()
    assert third.event() == {"event": "ready"}
    assert third.ask("GET", "select?p=a&c=1.1.1/1.1.1/1.1.1") == "kept"
