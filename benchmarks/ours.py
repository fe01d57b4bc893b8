"""sqsuper itself, under `twistd -n`, with the tenants that a benchmark needs."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.peers import SELECT, TOKEN, Peer, data_directory, program
from tests.running import Running, eventually, free_port, start
from tests.tls_support import Made

_numbers = itertools.count()


def token(name: str) -> str:
    """Return the token of a tenant; TOKEN for the one named `embedded`."""
    if name == "embedded":
        return TOKEN
    return f"pmb-v1-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def tenant(name: str, **more: Any) -> dict[str, Any]:
    """Return the configuration of a tenant on our engine, with keys of its own."""
    return {"token_sha256": [hashlib.sha256(token(name).encode()).hexdigest()], **more}


def odyssey(directory: Path, name: str, **more: Any) -> dict[str, Any]:
    """Return the configuration of a tenant whose new data directory holds The Odyssey."""
    data = data_directory(directory, f"{name}-{next(_numbers)}")
    return tenant(name, data_dir=str(data), **more)


def on_sq(directory: Path, name: str, **more: Any) -> dict[str, Any]:
    """Return the same on the real sq. Raises MissingError."""
    command = [program("sq"), "host", "{port}", "--key", "{key}", "--data-dir", "{data_dir}"]
    return odyssey(directory, name, engine="command", command=command, **more)


def plain(running: Running, name: str = "embedded") -> Peer:
    """Return a tenant of a running sqsuper as a peer."""
    return Peer(running.port, token(name), psutil.Process(running.pid))


@contextlib.contextmanager
def sqsuper(
    directory: Path,
    tenants: dict[str, Any],
    *,
    gateway: dict[str, Any] | None = None,
    certificate: Made | None = None,
    awake: Sequence[str] = ("embedded",),
) -> Iterator[Running]:
    """Run sqsuper with such tenants; those that are `awake` have answered once.

    With a `certificate` it takes TLS as well: `secured`.
    """
    home = directory / f"us-{next(_numbers)}"
    home.mkdir(mode=0o700)
    port = free_port()
    listen = [f"tcp:{port}:interface=127.0.0.1"]
    if certificate is not None:
        secure = free_port()
        (home / "tls-port").write_text(str(secure))
        listen.append(certificate.endpoint(secure))
    config = home / "tenants.json"
    config.touch(mode=0o600)
    config.write_text(
        json.dumps(
            {
                "gateway": {"listen": listen, **(gateway or {})},
                "admin": {"listen": ["tcp:0:interface=127.0.0.1"]},
                "tenants": tenants,
            }
        )
    )
    running = start(home, config, port)
    try:
        eventually(running.healthy, "sqsuper answers", 120)
        for name in awake:
            answer = running.request("GET", SELECT, token=token(name), timeout=60)
            if answer.status != 200:
                raise RuntimeError(f"{name} is not served: {answer}")
        yield running
    finally:
        running.close()


def secured(running: Running, name: str = "embedded") -> Peer:
    """Return a tenant of a running sqsuper, asked over TLS."""
    port = int((running.directory / "tls-port").read_text())
    return Peer(port, token(name), psutil.Process(running.pid), scheme="https")


def instance(running: Running, data: str) -> psutil.Process | None:
    """Return the process that works in a tenant's data directory, None when there is none."""
    for child in running.children():
        with contextlib.suppress(psutil.Error):
            if Path(child.cwd()) == Path(data).resolve():
                return child
    return None
