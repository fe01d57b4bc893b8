"""Put into tests/integration/: what the gateway takes the embedded engine behind it must take."""

from __future__ import annotations

import socket
import time

import pytest

from tests.conftest import StartSqsuper
from tests.running import free_port

TOKEN = "tok-alice-0123456789"
LIMIT = 4096


def first_line(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request)
        return client.recv(100).partition(b"\r\n")[0]


@pytest.mark.parametrize("below", [0, 1, 40, 90])
def test_a_head_up_to_the_limit_reaches_the_engine(
    sqsuper_process: StartSqsuper, below: int
) -> None:
    running = sqsuper_process(
        {"gateway": {"max_head_bytes": LIMIT}, "tenants": {"alice": {"tokens": [TOKEN]}}}
    )
    start = b"GET /api/v2/version HTTP/1.1\r\nHost: x\r\nX-SQ-API-Key: %b\r\nX: " % TOKEN.encode()
    request = start + b"a" * (LIMIT - below - len(start) - 4) + b"\r\n\r\n"
    assert first_line(running.port, request) == b"HTTP/1.1 200 OK"


def test_256_field_lines_reach_the_engine(sqsuper_process: StartSqsuper) -> None:
    running = sqsuper_process({"tenants": {"alice": {"tokens": [TOKEN]}}})
    lines = b"".join(b"X%d: a\r\n" % n for n in range(254))
    request = b"GET /api/v2/version HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\n%b\r\n"
    assert first_line(running.port, request % (TOKEN.encode(), lines)) == b"HTTP/1.1 200 OK"


def test_half_a_head_at_a_tenants_port_does_not_get_its_instance_killed(
    sqsuper_process: StartSqsuper,
) -> None:
    port = free_port()
    running = sqsuper_process(
        {
            "defaults": {"stop_grace": "2s"},
            "tenants": {"alice": {"tokens": [TOKEN], "port": port}},
        }
    )
    assert running.request("GET", "/api/v2/version", token=TOKEN).status == 200
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /api/v2/ver")
        time.sleep(0.2)  # until it was read: nothing shows from outside
        running.stop()
    assert "stopping -> stopped (exit status 0)" in running.output


def test_a_full_port_of_a_tenant_leaves_the_gateways_way_free(
    sqsuper_process: StartSqsuper,
) -> None:
    port = free_port()
    running = sqsuper_process(
        {
            "gateway": {"max_connections": 4, "max_connections_per_address": 4},
            "tenants": {"alice": {"tokens": [TOKEN], "port": port, "start": "eager"}},
        }
    )
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
    try:
        time.sleep(0.5)  # until they were accepted: nothing shows from outside
        assert running.request("GET", "/api/v2/version", token=TOKEN).status == 200
    finally:
        for one in held:
            one.close()
