"""Fixtures: a gateway alone over real sockets, and an instance that records."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqsuper.testing import RecordingUpstream
from tests.integration.gateway_support import GatewayUnderTest, ReactorThread
from tests.tls_support import Made, make

StartGateway = Callable[..., GatewayUnderTest]


@pytest.fixture(scope="session")
def reactor_thread() -> Iterator[ReactorThread]:
    thread = ReactorThread()
    yield thread
    thread.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A certificate for localhost."""
    return make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(
    params=[
        pytest.param(
            True,
            id="nested",
            marks=pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here"),
        ),
        pytest.param(False, id="transports"),
        pytest.param(
            "tls",
            id="tls",
            marks=pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here"),
        ),
    ]
)
def gateway(
    request: pytest.FixtureRequest, reactor_thread: ReactorThread, short_dir: Path, site: Made
) -> Iterator[StartGateway]:
    """Start gateways: `gateway(upstream=…, instances=…, <keys of the configuration>)`.

    Every test with it is run over each implementation of the wires.
    """
    started: list[GatewayUnderTest] = []

    def start(**options: Any) -> GatewayUnderTest:
        options.setdefault("nested", bool(request.param))
        if request.param == "tls" and "listen" not in options:
            options["tls"] = site
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
