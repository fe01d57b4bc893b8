"""The gateway goes over to other endpoints, limits and logs while it serves."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from sqsuper.config.model import Gateway, Tenant
from sqsuper.slices import Slices
from sqsuper.testing import RecordingUpstream
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import (
    Client,
    GatewayUnderTest,
    ReactorThread,
    request,
    tenant,
)
from tests.running import eventually, free_port, listens
from tests.tls_support import Made, client_context, make

Plain = Callable[[int], "tuple[GatewayUnderTest, list[int]]"]
EPOLL = pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")


def go_over(
    one: GatewayUnderTest,
    *,
    changed: tuple[Tenant, ...] = (),
    gone: tuple[str, ...] = (),
    **more: Any,
) -> None:
    """Have the gateway go over to other keys of its own, and other tenants."""
    service = one.service

    async def change() -> None:
        config = attrs.evolve(service.config, gateway=attrs.evolve(service.config.gateway, **more))
        prepared = await service.prepare(config, changed, gone, Slices(one.thread.reactor))
        await service.commit(prepared)

    one.call(lambda: Deferred.fromCoroutine(change()))


def endpoint(port: int, interface: str = "127.0.0.1") -> str:
    return f"tcp:{port}:interface={interface}"


def client_at(port: int) -> Client:
    return Client(socket.create_connection(("127.0.0.1", port), 20))


def connection_of(client: Client) -> str | None:
    """Make a request; return the answer's Connection field, if it has one."""
    client.send(request())
    answer = client.answer()
    assert answer.status == 200
    found = answer.all("connection")
    return found[0] if found else None


@pytest.fixture
def start(reactor_thread: ReactorThread, short_dir: Path) -> Iterator[StartGateway]:
    """Start a gateway with just these options."""
    started: list[GatewayUnderTest] = []

    def begin(**options: Any) -> GatewayUnderTest:
        started.append(GatewayUnderTest(reactor_thread, short_dir, **options))
        return started[-1]

    yield begin
    for one in started:
        one.close()


@pytest.fixture(params=[pytest.param(True, marks=EPOLL, id="nested"), False])
def plain(
    request: pytest.FixtureRequest,
    start: StartGateway,
    upstream: RecordingUpstream,
    free_ports: Callable[[int], list[int]],
) -> Plain:
    """Start a gateway at the first of so many ports: `plain(2)` gives it and the ports."""

    def begin(count: int) -> tuple[GatewayUnderTest, list[int]]:
        ports = free_ports(count)
        listen = (endpoint(ports[0]),)
        return start(upstream=upstream, listen=listen, nested=request.param), ports

    return begin


class TestEndpoints:
    def test_new_ones_serve_and_old_ones_end_with_the_next_answer(self, plain: Plain) -> None:
        one, (first, second) = plain(2)
        going, staying = client_at(first), None
        assert connection_of(going) is None
        go_over(one, listen=(endpoint(first), endpoint(second)))
        staying = client_at(second)
        assert [connection_of(client) for client in (going, staying)] == [None, None]
        go_over(one, listen=(endpoint(second),))
        assert not listens(first)
        assert connection_of(going) == "close"
        assert going.rest() == b""
        assert connection_of(staying) is None
        for client in (going, staying):
            client.close()

    def test_one_that_cannot_be_bound_leaves_all_as_it_was(self, plain: Plain) -> None:
        one, (first, second) = plain(2)
        client = client_at(first)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            wanted = (endpoint(second), endpoint(taken.getsockname()[1]))
            with pytest.raises(CannotListenError):
                go_over(one, listen=wanted, max_body_bytes=1, changed=(tenant("alice", "new"),))
            # Also where one would have been taken over.
            wanted = (endpoint(first, ""), endpoint(taken.getsockname()[1]))
            with pytest.raises(CannotListenError):
                go_over(one, listen=wanted)
        assert not listens(second)
        assert connection_of(client) is None
        other = client_at(first)
        assert connection_of(other) is None
        for each in (client, other):
            each.close()

    def test_a_port_is_taken_over_for_other_addresses(self, plain: Plain) -> None:
        one, (port,) = plain(1)
        client = client_at(port)
        assert connection_of(client) is None
        go_over(one, listen=(endpoint(port, ""),))
        assert connection_of(client) == "close"
        other = client_at(port)
        assert connection_of(other) is None
        for each in (client, other):
            each.close()

    def test_what_cannot_be_taken_over_is_bound_again(self, plain: Plain) -> None:
        one, (port,) = plain(1)
        with contextlib.ExitStack() as stack:
            other = stack.enter_context(socket.socket())
            other.bind(("127.0.0.2", port))
            other.listen()
            with pytest.raises(CannotListenError):
                go_over(one, listen=(endpoint(port, ""),))
        client = client_at(port)
        assert connection_of(client) is None
        client.close()

    def test_a_unix_socket(self, plain: Plain, short_dir: Path) -> None:
        one, (port,) = plain(1)
        path = short_dir / "socket"
        go_over(one, listen=(endpoint(port), f"unix:{path}"))
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        client = Client(sock)
        assert connection_of(client) is None
        go_over(one, listen=(endpoint(port),))
        assert not path.exists()
        assert connection_of(client) == "close"
        client.close()


class TestCertificates:
    @EPOLL
    def test_one_port_gets_another_certificate(
        self, start: StartGateway, upstream: RecordingUpstream, tmp_path: Path
    ) -> None:
        site, other = make(tmp_path, "site"), make(tmp_path, "other")
        port = free_port()
        one = start(upstream=upstream, tls=site, listen=(site.endpoint(port),), nested=True)

        def open_with(made: Made) -> Client:
            raw = socket.create_connection(("127.0.0.1", port), 20)
            return Client(client_context(made).wrap_socket(raw, server_hostname="localhost"))

        kept = open_with(site)
        assert connection_of(kept) is None
        go_over(one, listen=(other.endpoint(port),))
        with pytest.raises(ssl.SSLError):
            open_with(site)
        fresh = open_with(other)
        # The port is the same one: nothing is closed.
        assert [connection_of(client) for client in (kept, fresh)] == [None, None]
        for client in (kept, fresh):
            client.close()


class TestKeys:
    def test_limits_hold_on_open_connections_too(
        self, gateway: StartGateway, upstream: RecordingUpstream
    ) -> None:
        one = gateway(upstream=upstream)
        kept = one.connect()
        body = request(method="POST", body=b"12345")
        kept.send(body)
        assert kept.answer().status == 200
        go_over(one, max_body_bytes=4)
        kept.send(body)
        assert kept.answer().status == 413
        go_over(one, max_body_bytes=5, max_connections=1, wrong_tokens_per_minute=0)
        eventually(lambda: one.connections() == 0, "the refused one is gone")
        first = one.connect()
        first.send(body)
        assert first.answer().status == 200
        assert one.ask(request()).status == 503
        first.send(request(token="wrong"))
        assert first.answer().status == 429
        go_over(one, max_connections=10, head_timeout=0.3)
        slow = one.connect()
        slow.send(b"GET / HT")
        assert slow.answer().status == 408

    def test_another_access_log(
        self, gateway: StartGateway, upstream: RecordingUpstream, tmp_path: Path
    ) -> None:
        one = gateway(upstream=upstream, access_log=str(tmp_path / "one"))
        assert one.ask(request("/api/v2/select?p=first")).status == 200
        with pytest.raises(OSError):  # noqa: PT011 - a file is no directory, however it is said
            go_over(one, access_log=str(tmp_path / "one" / "below"))
        go_over(one, access_log=str(tmp_path / "two.json"))
        assert one.ask(request("/api/v2/select?p=second")).status == 200
        assert "first" in (tmp_path / "one").read_text()
        eventually(lambda: "second" in (tmp_path / "two.json").read_text(), "it is written")
        assert "second" not in (tmp_path / "one").read_text()
        go_over(one, access_log=None)
        assert one.ask(request()).status == 200

    def test_tenants_and_keys_in_one_step(
        self, gateway: StartGateway, upstream: RecordingUpstream
    ) -> None:
        one = gateway(upstream=upstream)
        go_over(one, changed=(tenant("alice", "bobtok"),), gone=("bob",), idle_timeout=3.0)
        assert one.ask(request(token="tok")).status == 401
        assert one.ask(request(token="bobtok")).status == 200
        assert one.call(lambda: one.service.timing.idle_timeout) == 3.0
        assert one.service.config.gateway == Gateway(
            listen=one.service.config.gateway.listen, idle_timeout=3.0
        )
