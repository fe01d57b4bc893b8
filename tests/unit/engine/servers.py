"""The engine and the real sq as processes on loopback, and a client that shows raw bytes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

KEY = "the-key-of-this-test"
ROOT = Path(__file__).parents[3]
DEADLINE = 15.0
MAIN = "import sys; from sqsuper.engine.__main__ import main; sys.exit(main(sys.argv[1:]))"


@attrs.frozen
class Reply:
    """An answer as it came. `fields`: (lower-case name, value) in order."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known == name.lower()]

    def field(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if len(values) == 1 else None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")


class Client:
    """One connection to a server; with `reconnect` a new one after each answer (real sq)."""

    def __init__(self, address: Any, *, key: str | None = KEY, reconnect: bool = False) -> None:
        self.address = address
        self.key = key
        self.reconnect = reconnect
        self.sock: socket.socket | None = None
        self.buffer = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None
        self.buffer = b""

    def connect(self) -> socket.socket:
        if self.sock is None:
            family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_STREAM)
            self.sock.settimeout(DEADLINE)
            self.sock.connect(self.address)
        return self.sock

    def send(self, data: bytes) -> None:
        self.connect().sendall(data)

    def request(
        self,
        method: str,
        target: str | bytes,
        body: bytes | None = None,
        fields: Sequence[str] = (),
        version: str = "1.1",
    ) -> Reply:
        self.send(self.head(method, target, body, fields, version) + (body or b""))
        reply = self.reply(method)
        if self.reconnect:
            self.close()
        return reply

    def head(
        self,
        method: str,
        target: str | bytes,
        body: bytes | None = None,
        fields: Sequence[str] = (),
        version: str = "1.1",
    ) -> bytes:
        raw = target if isinstance(target, bytes) else target.encode("utf-8")
        lines = [b"%b %b HTTP/%b" % (method.encode(), raw, version.encode()), b"Host: t"]
        if self.key is not None:
            lines.append(b"Authorization: Bearer " + self.key.encode())
        if body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        lines.extend(field.encode("latin-1") for field in fields)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def get(self, target: str | bytes, *fields: str) -> Reply:
        return self.request("GET", target, fields=fields)

    def post(self, target: str | bytes, body: bytes = b"", *fields: str) -> Reply:
        return self.request("POST", target, body, fields)

    def reply(self, method: str = "GET") -> Reply:
        """Read one answer, interim ones skipped."""
        while True:
            head = self._until(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")[:-2]
            status = int(lines[0].split(" ")[1])
            if status != 100:
                break
        fields = tuple(
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines[1:])
        )
        lengths = [int(value) for name, value in fields if name == "content-length"]
        assert len(lengths) <= 1
        length = lengths[0] if lengths and method != "HEAD" else 0
        return Reply(status, fields, self._exactly(length))

    def eof(self) -> bool:
        """Whether the server closes (waiting for it) without a further byte."""
        if self.buffer:
            return False
        try:
            return self.connect().recv(1) == b""
        except ConnectionError:
            return True

    def _more(self) -> None:
        data = self.connect().recv(65_536)
        if not data:
            raise EOFError(self.buffer)
        self.buffer += data

    def _until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            self._more()
        at = self.buffer.index(end) + len(end)
        found, self.buffer = self.buffer[:at], self.buffer[at:]
        return found

    def _exactly(self, count: int) -> bytes:
        pieces = [self.buffer[:count]]
        self.buffer = self.buffer[count:]
        count -= len(pieces[0])
        while count:
            data = self.connect().recv(min(count, 1 << 20))
            if not data:
                raise EOFError
            pieces.append(data)
            count -= len(data)
        return b"".join(pieces)


@attrs.define
class Running:
    """A server process that this test started."""

    process: subprocess.Popen[bytes]
    port: int
    data: Path

    def client(self, **options: Any) -> Client:
        return Client(("127.0.0.1", self.port), **options)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)


def engine_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sqsuper.engine", *arguments]


@contextmanager
def running_engine(
    data: Path, *options: str, before: str = "", bare: bool = False
) -> Iterator[Running]:
    """Run an engine on a free port.

    `before`: Python that its process runs first. `bare`: without `site`, as the supervisor does.
    """
    command = engine_command("host", "0", "--key", KEY, "--data-dir", str(data), *options)
    if bare:
        paths = [str(ROOT), sysconfig.get_paths()["purelib"]]
        command[1:3] = ["-I", "-S", "-c", f"import sys; sys.path[:0] = {paths}; {MAIN}"]
    if before:
        command[1:3] = ["-c", f"{before}; {MAIN}"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("serving on http://127.0.0.1:"), line
        yield Running(process, int(line.split(":")[2].split("/")[0]), data)
    finally:
        finish(process)


def finish(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(DEADLINE)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def real_sq() -> str:
    """Return the real sq's path, or skip (fail where CI runs)."""
    found = shutil.which("sq") or shutil.which(str(Path.home() / ".cargo/bin/sq"))
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the real sq is missing: cargo install sq --version 0.5.5")
        pytest.skip("the real sq is missing: cargo install sq --version 0.5.5")
    return found


@contextmanager
def running_sq(data: Path) -> Iterator[Running]:
    """Run the real sq, in `data`, where it leaves its own folder too."""
    program = real_sq()
    data.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [program, "host", str(port), "--key", KEY, "--data-dir", str(data)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=data,
    )
    try:
        wait_for(lambda: _accepts(port))
        yield Running(process, port, data)
    finally:
        finish(process)


def _accepts(port: int) -> bool:
    try:
        with Client(("127.0.0.1", port)) as client:
            return client.request("OPTIONS", "/").status == 204
    except (OSError, EOFError):
        return False


def wait_for(condition: Any, seconds: float = DEADLINE) -> None:
    """Wait until `condition()` is true; fail after a deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)
