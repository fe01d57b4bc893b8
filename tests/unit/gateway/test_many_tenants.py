"""How many tenants are configured is nothing to a request: counted in calls, not in time."""

from __future__ import annotations

import gc
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransport

from sqsuper.config.model import Config, Gateway, Origin, Tenant, Token
from sqsuper.gateway.service import GatewayService
from sqsuper.testing import FixedInstances

COUNTS = (2, 2_000)


def token(number: int) -> bytes:
    return b"token-%d" % number


def tenants(count: int) -> Iterator[Tenant]:
    for number in range(count):
        digest = hashlib.sha256(token(number)).digest()
        yield Tenant(f"t{number}", (Token(digest),), Path("/nowhere"), Origin(Path("c"), 1))


def service(count: int, run_dir: Path) -> MemoryReactorClock:
    """Start a gateway for so many tenants; return its reactor."""
    config = Config(
        Path("c"),
        run_dir,
        run_dir,
        gateway=Gateway(listen=("tcp:1:interface=127.0.0.1",)),
        tenants=tuple(tenants(count)),
    )
    reactor = MemoryReactorClock()
    assert GatewayService(config, FixedInstances(), reactor, nested=False).startService().called
    return reactor


class Transport(StringTransport):
    """As TCP's."""

    def setTcpNoDelay(self, enabled: bool) -> None: ...


def calls(what: Any) -> int:
    """Return how many functions are called."""
    counted = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    # Finalisers of what other tests left behind would be counted.
    gc.collect()
    gc.disable()
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        what()
    finally:
        sys.setprofile(before)
        gc.enable()
    return counted


@pytest.mark.parametrize("known", [True, False])
def test_a_request_calls_as_many_functions(tmp_path: Path, known: bool) -> None:
    found = []
    for count in COUNTS:
        factory: Any = service(count, tmp_path).tcpServers[0][1]
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 2))
        transport: Any = Transport()  # type: ignore[no-untyped-call]
        protocol.makeConnection(transport)

        def ask(number: int, protocol: Any = protocol) -> None:
            varying = b"" if known else b"X: %d\r\n" % number
            fields = b"Host: h\r\nAuthorization: Bearer %b\r\n%b" % (token(1), varying)
            # Its token is looked up, and then no instance is asked.
            protocol.dataReceived(b"GET /api/v2/reload HTTP/1.1\r\n" + fields + b"\r\n")

        for number in range(3):
            ask(number)
        found.append(calls(lambda: ask(9)))
        assert transport.value().count(b"HTTP/1.1 403 ") == 4
    assert found[0] == found[1] > 0


def test_a_sweep_looks_at_none_without_requests(tmp_path: Path) -> None:
    found = []
    for count in COUNTS:
        reactor = service(count, tmp_path)
        found.append(calls(lambda reactor=reactor: reactor.advance(1.0)))
    assert found[0] == found[1] > 0
