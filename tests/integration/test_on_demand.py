"""Lazy tenants as whole programs: started by whoever comes, stopped when nobody does."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import threading
import time
from typing import Any

import psutil
import pytest

from tests.conftest import StartSqsuper
from tests.running import Running, eventually, free_port

TOKEN = "the-token-of-alice"
SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()


def alice(**tenant: Any) -> dict[str, Any]:
    """Return a configuration of one tenant."""
    return {"tenants": {"alice": {"token_sha256": [SHA256], "idle_stop": "1s", **tenant}}}


def get(one: Running, target: str = "/api/v2/version") -> int:
    return one.request("GET", target, token=TOKEN).status


def engines(one: Running) -> list[psutil.Process]:
    """Return the instances: as the zygote names them."""
    found = []
    for child in one.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith("sq:"):
                found.append(child)
    return found


def stopped(one: Running) -> bool:
    return not engines(one)


def own_port(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def ask(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/api/v2/version", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


@pytest.mark.parametrize("workers", [1, 2])
def test_started_by_a_request_and_stopped_when_unused(
    sqsuper_process: StartSqsuper, workers: int
) -> None:
    one = sqsuper_process({**alice(), "gateway": {"workers": workers}})
    assert stopped(one)
    for _ in range(2):
        assert get(one) == 200
        eventually(lambda: one.output.count("alice: healthy -> draining (unused for"), "idle")
        eventually(lambda: one.output.rstrip().endswith("stopped (exit status 0)"), "it stopped")
        assert "alice: starting -> healthy" in one.output
        (one.directory / "output").write_text("")


def test_a_long_answer_is_use(sqsuper_process: StartSqsuper) -> None:
    one = sqsuper_process({**alice(idle_stop="0.3s"), "defaults": {"drain": "20s"}})
    big = b"x" * (8 << 20)
    place = "p=big&c=1.1.1/1.1.1/1.1.1"
    assert one.request("POST", f"/api/v2/update?{place}", token=TOKEN, body=big).status == 200
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", one.port))
        slow.sendall(
            f"GET /api/v2/select?{place} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: {TOKEN}\r\n\r\n".encode()
        )
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:  # several times idle_stop
            assert slow.recv(4096)
            time.sleep(0.01)
        assert not stopped(one)
        assert "draining" not in one.output.rpartition("starting -> healthy")[2]
    # Its end was not a good one, but its end.
    eventually(lambda: stopped(one), "it stopped after all")


def test_its_own_port_starts_it_and_idle_connections_there_do_not_keep_it(
    sqsuper_process: StartSqsuper,
) -> None:
    port = free_port()
    one = sqsuper_process(alice(port=port))
    for _ in range(2):
        assert stopped(one)
        connection = own_port(port)
        assert ask(connection) == 200
        (process,) = engines(one)
        # As it stops, the connection is closed cleanly.
        assert connection.sock is not None
        assert connection.sock.recv(1) == b""
        connection.close()
        assert process.is_running() is False or eventually(lambda: stopped(one), "it stopped")


def test_requests_at_its_own_port_are_use(sqsuper_process: StartSqsuper) -> None:
    port = free_port()
    one = sqsuper_process(alice(port=port, idle_stop="2s"))
    connection = own_port(port)
    assert ask(connection) == 200
    (process,) = engines(one)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:  # more than twice idle_stop
        assert ask(connection) == 200
        time.sleep(0.1)
    assert [child.pid for child in engines(one)] == [process.pid]
    assert "draining" not in one.output
    connection.close()
    eventually(lambda: stopped(one), "it stopped")


def test_a_client_that_says_nothing_starts_it_but_keeps_it_not(
    sqsuper_process: StartSqsuper,
) -> None:
    port = free_port()
    one = sqsuper_process(alice(port=port))
    with socket.create_connection(("127.0.0.1", port), 30) as silent:
        eventually(lambda: "starting -> healthy" in one.output, "it started")
        assert silent.recv(1) == b""
    eventually(lambda: stopped(one), "it stopped")


def test_little_memory_stops_the_longest_unused(sqsuper_process: StartSqsuper) -> None:
    names = ("a", "b")
    tenants = {
        name: {"token_sha256": [hashlib.sha256(name.encode()).hexdigest()], "idle_stop": "never"}
        for name in names
    }
    one = sqsuper_process({"tenants": tenants, "host_memory": {"stop_idle": "100%"}})
    for name in names:
        assert one.request("GET", "/api/v2/version", token=name).status == 200
    eventually(lambda: stopped(one), "both stopped", 20)
    first, second = (one.output.index(f"{name}: healthy -> draining") for name in names)
    assert first < second
    assert "the longest unused, and" in one.output


def test_no_memory_no_cold_start(sqsuper_process: StartSqsuper) -> None:
    port = free_port()
    one = sqsuper_process({**alice(port=port), "host_memory": {"refuse": "100%"}})
    answer = one.request("GET", "/api/v2/version", token=TOKEN)
    assert (answer.status, answer.header("retry-after")) == (503, "5")
    assert b'"overloaded"' in answer.body
    with socket.create_connection(("127.0.0.1", port), 30):
        assert stopped(one)
        assert get(one) == 503
    assert "alice: stopped" not in one.output


def test_many_cold_tenants_at_once_come_a_few_at_a_time(sqsuper_process: StartSqsuper) -> None:
    count = 12
    tenants = {
        f"t{n}": {"token_sha256": [hashlib.sha256(b"%d" % n).hexdigest()]} for n in range(count)
    }
    one = sqsuper_process({"tenants": tenants, "spawn_concurrency": 2})
    statuses: list[int] = []

    def request(number: int) -> None:
        answer = one.request("GET", "/api/v2/version", token=f"{number}")
        statuses.append(answer.status)

    threads = [threading.Thread(target=request, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * count
