"""Fixtures for all tests, and what becomes of those that need the real `sq`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.running import Running, eventually, free_port, start

StartSqsuper = Callable[..., Running]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without `sq` a test that needs it is a visible skip, and in CI a failure."""
    if item.get_closest_marker("real_sq") is None or shutil.which("sq"):
        return
    missing = "the real sq is not on PATH (`make sq` gets it)"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory of its own with a short path: Unix sockets' paths are at most 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="sqs-")).resolve()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def free_ports() -> Callable[[int], list[int]]:
    """Gives so many different loopback ports on which nobody listens."""

    def ports(count: int) -> list[int]:
        found: set[int] = set()
        while len(found) < count:
            found.add(free_port())
        return list(found)

    return ports


@pytest.fixture
def sqsuper_process(short_dir: Path) -> Iterator[StartSqsuper]:
    """Starts real sqsupers under `twistd -n`, waits for /health, and ends them.

    Call it with the configuration as a mapping (its `tenants`, `defaults`, …); the gateway gets
    a free port unless the mapping names one in `listen`, as does the admin listener (its port is
    `Running.admin_port`), and everything lies below a directory of its own, `Running.directory`.
    At the end each must leave no process, socket, port or pid file.
    """
    running: list[Running] = []

    def begin(config: dict[str, Any] | None = None, *, port: int | None = None) -> Running:
        config = dict(config or {})
        port = port or free_port()
        gateway = dict(config.get("gateway", {}))
        gateway.setdefault("listen", [f"tcp:{port}:interface=127.0.0.1"])
        admin = dict(config.get("admin", {}))
        admin_port = free_port()
        admin.setdefault("listen", [f"tcp:{admin_port}:interface=127.0.0.1"])
        # The path's length counts for the sockets in its run_dir.
        directory = short_dir / str(len(running))
        directory.mkdir(mode=0o700)
        file = directory / "tenants.yaml"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump({**config, "gateway": gateway, "admin": admin}))
        running.append(start(directory, file, port))
        running[-1].admin_port = admin_port
        eventually(running[-1].healthy, "GET /health answers 200", 20)
        return running[-1]

    yield begin
    failures = []
    for one in running:
        try:
            one.close()
        except Exception as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
