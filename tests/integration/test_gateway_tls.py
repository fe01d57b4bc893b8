"""TLS on the gateway's port: real clients, deadlines, memory, and files that change."""

from __future__ import annotations

import json
import select
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from sqsuper.gateway.listening import NO_TLS
from sqsuper.testing import RecordingUpstream
from tests.conftest import StartSqsuper
from tests.integration.gateway_support import (
    Client,
    GatewayUnderTest,
    ReactorThread,
    request,
)
from tests.running import Running, eventually, free_port, twistd
from tests.tls_support import Made, client_context, make, wrap

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")

ALICE = "pmb-v1-alice-0123456789abcdef"


@pytest.fixture
def gateway(
    reactor_thread: ReactorThread, short_dir: Path, site: Made, upstream: RecordingUpstream
) -> Iterator[Any]:
    started: list[GatewayUnderTest] = []

    def start(**options: Any) -> GatewayUnderTest:
        options = {"tls": site, "upstream": upstream, **options}
        started.append(GatewayUnderTest(reactor_thread, short_dir, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


def raw(under_test: GatewayUnderTest) -> socket.socket:
    return socket.create_connection(("127.0.0.1", under_test.port), timeout=15)


# Deadlines and limits


@pytest.mark.parametrize("sent", [b"", b"\x16", b"hello"])
def test_a_handshake_has_the_time_of_a_head(gateway: Any, sent: bytes) -> None:
    under_test = gateway(head_timeout=0.3)
    with raw(under_test) as sock:
        if sent == b"hello":
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            with pytest.raises(ssl.SSLWantReadError):
                client_context().wrap_bio(incoming, outgoing).do_handshake()
            sent = outgoing.read()
        began = time.monotonic()
        sock.sendall(sent)
        while sock.recv(65_536):
            pass
        assert 0.2 < time.monotonic() - began < 2
    eventually(lambda: under_test.connections() == 0)


def test_unfinished_handshakes_count_as_connections(gateway: Any) -> None:
    under_test = gateway(max_connections=3, max_connections_per_address=3)
    holders = [raw(under_test) for _ in range(3)]
    eventually(lambda: under_test.connections() == 3)
    client = under_test.connect()
    answer = client.answer()
    assert (answer.status, answer.one("connection")) == (503, "close")
    assert client.rest() == b""
    for holder in holders:
        holder.close()
    eventually(lambda: under_test.connections() == 0)
    assert under_test.ask(request()).status == 200


def test_http_on_the_tls_port_gets_a_hint(gateway: Any, upstream: RecordingUpstream) -> None:
    under_test = gateway()
    with raw(under_test) as sock:
        sock.sendall(request())
        answer = Client(sock).answer()
    assert (answer.status, answer.one("connection")) == (400, "close")
    assert answer.all("access-control-allow-origin") == ["*"]
    assert b"https://" in answer.body
    assert upstream.peers == []
    eventually(lambda: under_test.connections() == 0)


def test_stopping_closes_what_has_not_begun(gateway: Any) -> None:
    under_test = gateway()
    with raw(under_test) as silent, raw(under_test) as begun:
        begun.sendall(b"\x16\x03\x01")
        eventually(lambda: under_test.connections() == 2)
        began = time.monotonic()
        under_test.call(under_test.service.stopService)
        assert time.monotonic() - began < 2
        for sock in (silent, begun):
            with suppress(ConnectionResetError):
                assert sock.recv(1) == b""


def test_twisted_transports_have_no_tls(
    reactor_thread: ReactorThread, short_dir: Path, site: Made
) -> None:
    with pytest.raises(Exception, match="epoll") as caught:
        GatewayUnderTest(reactor_thread, short_dir, tls=site, nested=False)
    assert str(caught.value.socketError) == NO_TLS  # type: ignore[attr-defined]


# The whole program


def config(listen: list[str]) -> dict[str, Any]:
    return {
        "gateway": {"listen": listen},
        "tenants": {"alice": {"tokens": [ALICE]}},
    }


def start(sqsuper_process: StartSqsuper, *made: Made) -> tuple[Running, int]:
    """Start one that listens for plain HTTP too; return it and its TLS port."""
    port, secure = free_port(), free_port()
    listen = [f"tcp:{port}:interface=127.0.0.1", *(one.endpoint(secure) for one in made)]
    return sqsuper_process(config(listen), port=port), secure


def test_real_clients(sqsuper_process: StartSqsuper, site: Made) -> None:
    _running, port = start(sqsuper_process, site)
    api = f"https://localhost:{port}/api/v2"
    at = "p=n&c=1.1.1/1.1.1/1.1.4"
    bearer = {"Authorization": f"Bearer {ALICE}"}
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(site.authority)
        session.headers.update(bearer)
        for number in range(5):
            text = f"caf\u00e9 {number} " + "x" * 100_000
            wrote = session.post(f"{api}/update?{at}", data=text.encode(), timeout=20)
            assert wrote.status_code == 200
            assert session.get(f"{api}/select?{at}", timeout=20).content == text.encode()
        assert session.get(f"{api}/toc?p=n", headers={"Authorization": "x"}).status_code == 401
    if curl := shutil.which("curl"):
        urls = [argument for _ in range(3) for argument in ("-o", "-", f"{api}/checksum?p=n")]
        done = subprocess.run(
            [curl, "-sSv", "--fail", "--cacert", str(site.authority), "-H",
             f"Authorization: Bearer {ALICE}", *urls],
            capture_output=True, timeout=20, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) == 3 * 32
        assert "http/1.1" in done.stderr  # by ALPN
        assert done.stderr.count("SSL connection using") == 1
    if node := shutil.which("node"):
        script = """
            const [api, token] = process.argv.slice(1);
            const headers = {Authorization: `Bearer ${token}`};
            const all = await Promise.all(
                Array.from({length: 10}, () => fetch(`${api}/checksum?p=n`, {headers})));
            console.log(JSON.stringify(await Promise.all(all.map(r => r.text()))));
        """
        done = subprocess.run(
            [node, "--input-type=module", "-e", script, "--", api, ALICE],
            env={"NODE_EXTRA_CA_CERTS": str(site.authority)},
            capture_output=True, timeout=30, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        sums = json.loads(done.stdout)
        assert len(sums) == 10
        assert len(set(sums)) == 1
        assert len(sums[0]) == 32


def shown(port: int, made: Made, name: str) -> bytes | None:
    """Return the certificate that a client is shown that trusts `made` alone; None: none."""
    context = client_context(made)
    with socket.create_connection(("127.0.0.1", port), timeout=15) as sock:
        tls = wrap(sock, context, name)
        try:
            tls.do_handshake()
        except ssl.SSLCertVerificationError:
            return None
        finally:
            tls.close()
        return made.certificate.read_bytes()


def test_certificates_by_name_that_change(sqsuper_process: StartSqsuper, tmp_path: Path) -> None:
    first = make(tmp_path, "1", ("localhost", "a.example"))
    second = make(tmp_path, "2", ("*.b.example",), kind="rsa")
    running, port = start(sqsuper_process, first, second)
    assert shown(port, first, "a.example")
    assert shown(port, second, "x.b.example")
    assert not shown(port, second, "a.example")
    with socket.create_connection(("127.0.0.1", port), timeout=15) as sock:
        tls = wrap(sock, client_context(first), "localhost")
        tls.do_handshake()
        old = Client(tls)
        kept = second.key.read_bytes()
        make(tmp_path, "1", ("a.example",))
        make(tmp_path, "2", ("c.example",))
        new = second.key.read_bytes()
        second.key.write_bytes(kept)  # only the certificate is new so far
        eventually(lambda: shown(port, first, "a.example"), "the new one", 5)
        eventually(lambda: "does not belong" in running.output, "the failure is told", 5)
        second.key.write_bytes(new)
        eventually(lambda: shown(port, second, "c.example"), "the other one", 5)
        old.send(request("/health", token=""))
        assert old.answer().status == 200
        old.close()
    assert running.output.count("does not belong") == 1
    assert "PRIVATE" not in running.output


def test_an_idle_connection_costs_less_than_20_kb(
    sqsuper_process: StartSqsuper, site: Made
) -> None:
    running, port = start(sqsuper_process, site)
    process = psutil.Process(running.pid)
    context = client_context()

    def connect(count: int) -> list[Client]:
        clients = []
        for _ in range(count):
            tls = wrap(socket.create_connection(("127.0.0.1", port), timeout=15), context)
            tls.do_handshake()
            clients.append(Client(tls))
            clients[-1].send(request("/health", token=""))
            assert clients[-1].answer().status == 200
        return clients

    clients = connect(50)
    taken = []
    for _ in range(2):
        before = process.memory_info().rss
        clients += connect(200)
        taken.append((process.memory_info().rss - before) / 200)
    # What else the process began to need meanwhile is not theirs.
    assert min(taken) < 20 * 1024
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("key", "the key does not belong to the certificate"),
        ("certificate", "there is no certificate (PEM) in it"),
        ("gone", "No such file or directory"),
    ],
)
def test_a_broken_certificate_ends_the_start(tmp_path: Path, broken: str, told: str) -> None:
    made, other = make(tmp_path), make(tmp_path, "other")
    if broken == "key":
        made.key.write_bytes(other.key.read_bytes())
    elif broken == "certificate":
        made.certificate.write_bytes(b"")
    else:
        made.key.unlink()
    file = tmp_path / "t.yaml"
    file.write_text(f'gateway:\n  listen: ["{made.endpoint(free_port())}"]\n')
    done = twistd("-n", "--pidfile=", "sqsuper", "-c", str(file), cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    must = "must be an endpoint whose certificate can be used"
    assert f"t.yaml:2: gateway.listen[0]: {must} ({told}" in line
    assert "Traceback" not in done.stdout
