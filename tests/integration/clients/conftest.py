"""A real gateway for real clients, and where their programs come from."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.integration.test_main_job import tenants
from tests.running import Running, eventually, free_port, start

HERE = Path(__file__).parent


def missing(what: str) -> None:
    """Skip, and in CI fail: there it is installed."""
    reason = f"no {what} here (.ci/run installs it)"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def program(name: str) -> str:
    """Return where a program is."""
    found = shutil.which(name)
    if found is None:
        missing(name)
    assert found is not None
    return found


class CountingRelay:
    """Passes bytes to a port of the loopback and back; `connections`: how many came."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End all connections."""
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in (self._listener, *self._open):
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    self._threads.append(threading.Thread(target=self._pass, args=ends))
                    self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module", params=["embedded", pytest.param("sq", marks=pytest.mark.real_sq)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine; see `service`."""
    return str(request.param)


@pytest.fixture(scope="module")
def service(engine: str) -> Iterator[Running]:
    """A sqsuper in a process of its own, with alice on that engine."""
    directory = Path(tempfile.mkdtemp(prefix="sqs-")).resolve()
    port = free_port()
    file = directory / "tenants.yaml"
    file.touch(mode=0o600)
    gateway = {"listen": [f"tcp:{port}:interface=127.0.0.1"], "wrong_tokens_per_minute": 10_000}
    admin = {"listen": ["tcp:0:interface=127.0.0.1"]}
    file.write_text(yaml.safe_dump({"gateway": gateway, "admin": admin, **tenants(engine)}))
    running = start(directory, file, port)
    try:
        eventually(running.healthy, "GET /health answers 200", 20)
        yield running
    finally:
        running.close()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def relay(service: Running) -> Iterator[CountingRelay]:
    """Another way to `service`."""
    one = CountingRelay(service.port)
    yield one
    one.close()


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Compile the client in Go, once."""
    made: list[str] = []

    def client() -> str:
        if not made:
            go, directory = program("go"), tmp_path_factory.mktemp("go")
            made_at = str(directory / "client")
            environment = {
                "GOCACHE": str(directory / "cache"),
                **os.environ,
                "GOFLAGS": "-mod=mod",
                "GOPROXY": "off",
                "GOTOOLCHAIN": "local",
                "CGO_ENABLED": "0",
            }
            subprocess.run(
                # Unoptimised: the standard library may have to be compiled as well.
                [go, "build", "-gcflags=all=-N -l", "-o", made_at, str(HERE / "client.go")],
                cwd=directory,
                env=environment,
                check=True,
                timeout=300,
            )
            made.append(made_at)
        return made[0]

    return client
