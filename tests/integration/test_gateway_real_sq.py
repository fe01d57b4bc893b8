"""The real `sq` behind the gateway: it closes after every answer, without a word."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqsuper.instances import Upstream
from tests.integration.conftest import StartGateway
from tests.integration.gateway_support import GatewayUnderTest, request
from tests.running import eventually, free_port, listens

pytestmark = pytest.mark.real_sq
KEY = "the-key-of-this-spawn"


@pytest.fixture
def real(gateway: StartGateway, short_dir: Path) -> Iterator[GatewayUnderTest]:
    program = shutil.which("sq")
    assert program is not None
    port = free_port()
    process = subprocess.Popen(
        [program, "host", str(port), "--key", KEY, "--data-dir", str(short_dir)],
        cwd=short_dir,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: listens(port))
        under_test = gateway()
        under_test.instances.upstreams["alice"] = Upstream("alice", 1, KEY, port=port)
        yield under_test
    finally:
        process.kill()
        process.wait()


def test_what_notepad_does(real: GatewayUnderTest) -> None:
    client = real.connect()
    kind = "Content-Type: application/phext; charset=utf-8"
    select = "/api/v2/select?p=np&c=1.1.1/1.1.1/1.1.2"
    update = "/api/v2/update?p=np&c=1.1.1/1.1.1/1.1.2"
    for number in range(30):
        text = f"scroll {number} é".encode()
        client.send(request(update, kind, method="POST", body=text))
        assert client.answer().body == b"Updated %d bytes" % len(text)
        client.send(request(select))
        assert client.answer().body == text
    client.send(request(update, kind, "Transfer-Encoding: chunked", method="POST"))
    client.send(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
    assert client.answer().body == b"Updated 6 bytes"
    client.send(request(select))
    assert client.answer().body == b"abcdef"
    client.send(request("/api/v2/delta?p=np", kind, method="POST", body=b""))
    assert b"abcdef" in client.answer().body


def test_an_http_1_0_client_does_not_shift_scrolls(real: GatewayUnderTest) -> None:
    for scroll in (1, 2, 3):
        target = f"/api/v2/update?p=x&c=1.1.1/1.1.1/1.1.{scroll}"
        text = f"text {scroll}".encode()
        answer = real.ask(request(target, method="POST", body=text, version="1.0"))
        assert answer.status == 200
    answer = real.ask(request("/api/v2/select?p=x&c=1.1.1/1.1.1/1.1.2", version="1.0"))
    assert answer.body == b"text 2"


def test_many_at_once(real: GatewayUnderTest) -> None:
    clients = [real.connect() for _ in range(20)]
    for round_ in range(5):
        for number, client in enumerate(clients):
            client.send(request(f"/api/v2/insert?p=m&c=1.1.1/1.1.1/1.1.{number + 1}&s={round_}"))
        for client in clients:
            assert client.answer().body == b"Inserted 1 bytes"
    for number, client in enumerate(clients):
        client.send(request(f"/api/v2/select?p=m&c=1.1.1/1.1.1/1.1.{number + 1}"))
        assert client.answer().body == b"01234"
    assert isinstance(clients[0].sock, socket.socket)
