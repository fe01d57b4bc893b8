"""Fixtures: a gateway alone over real sockets, and an instance that records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqsuper.testing import RecordingUpstream
from tests.integration.gateway_support import GatewayUnderTest, ReactorThread

StartGateway = Callable[..., GatewayUnderTest]


@pytest.fixture(scope="session")
def reactor_thread() -> Iterator[ReactorThread]:
    thread = ReactorThread()
    yield thread
    thread.close()


@pytest.fixture
def gateway(reactor_thread: ReactorThread, short_dir: Path) -> Iterator[StartGateway]:
    """Start gateways: `gateway(upstream=…, instances=…, <keys of the configuration>)`."""
    started: list[GatewayUnderTest] = []

    def start(**options: Any) -> GatewayUnderTest:
        one = GatewayUnderTest(reactor_thread, short_dir, **options)
        started.append(one)
        return one

    yield start
    for one in started:
        one.close()


@pytest.fixture
def upstream() -> Iterator[RecordingUpstream]:
    """An instance that answers every request with 200 and keeps its connections."""
    one = RecordingUpstream()
    yield one
    one.close()
