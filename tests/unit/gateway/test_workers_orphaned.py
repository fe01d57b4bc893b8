from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from sqsuper.gateway.orphaned import orphaned
from tests.running import eventually

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux tells of others' sockets"
)


@pytest.fixture(params=["127.0.0.1", "::1", "::"])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A server of IPv4, of IPv6, and of both (where a client comes by IPv4)."""
    host = str(request.param)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual = host == "::"
    with socket.create_server((host, 0), family=family, dualstack_ipv6=dual) as server:
        yield server


def orphans(server: socket.socket) -> set[int]:
    found = orphaned()
    assert found is not None
    return set(found.get(server.getsockname()[1], ()))


def connect(server: socket.socket) -> socket.socket:
    host, port = server.getsockname()[:2]
    return socket.create_connection((host if host != "::" else "127.0.0.1", port))


def test_what_its_client_left_until_the_server_closes_it(server: socket.socket) -> None:
    clients = [connect(server) for _ in range(3)]
    ports = [client.getsockname()[1] for client in clients]
    ends = [server.accept()[0] for _ in clients]
    assert orphans(server) == set()
    clients[0].close()
    clients[1].close()
    assert orphans(server) == set(ports[:2])
    ends[0].close()
    assert orphans(server) == {ports[1]}
    ends[1].close()
    assert orphans(server) == set()
    clients[2].close()
    ends[2].close()


def test_not_what_its_client_has_closed_in_one_direction(server: socket.socket) -> None:
    with closing(connect(server)) as client, closing(server.accept()[0]):
        client.shutdown(socket.SHUT_WR)
        assert orphans(server) == set()


def test_what_was_not_accepted_yet(server: socket.socket) -> None:
    client = connect(server)
    port = client.getsockname()[1]
    client.close()
    assert orphans(server) == {port}


def test_what_was_not_read_yet_to_its_end(server: socket.socket) -> None:
    client = connect(server)
    port = client.getsockname()[1]
    with closing(server.accept()[0]):
        client.setblocking(False)
        with suppress(BlockingIOError):
            while client.send(bytes(65_536)):
                pass
        client.close()
        assert orphans(server) == {port}


def test_what_a_killed_process_had() -> None:
    program = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
    with socket.create_server(("127.0.0.1", 0)) as server:
        argv = [sys.executable, "-c", program + "s.recv(1)", str(server.getsockname()[1])]
        process = subprocess.Popen(argv)
        try:
            server.settimeout(20)
            end, (_, port) = server.accept()
            assert orphans(server) == set()
        finally:
            process.kill()
            process.wait()
        with end:
            eventually(lambda: orphans(server) == {port}, "it is seen")
        assert orphans(server) == set()
