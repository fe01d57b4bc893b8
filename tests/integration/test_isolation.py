"""Nobody reaches another's data: each way that a tenant has is tried, and finds nothing.

At the gateway and at the tenants' own ports, with the embedded engine and the real `sq`. What a
tenant's own links lead to is the embedded engine's affair: `sq` follows them, and nobody can make
one by its API.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import secrets
import shutil
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.conftest import StartSqsuper
from tests.integration import isolation_matrix as matrix
from tests.integration.gateway_support import Answer, Client
from tests.integration.isolation_matrix import Attempt, Tenant
from tests.running import Running

REFUSED = {400, 401, 403, 404, 405}


class Prober:
    """Sends attempts to a port, on one connection for as long as that lasts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._client: Client | None = None

    def ask(self, attempt: Attempt) -> Answer:
        client = self._client or self._connect()
        try:
            client.send(attempt.raw)
            answer = client.answer(attempt.method)
        except (EOFError, ConnectionError):
            # It was closed after the last answer, which sq does without a word.
            client = self._connect()
            client.send(attempt.raw)
            answer = client.answer(attempt.method)
        if "close" in answer.all("connection"):
            self.close()
        return answer

    def _connect(self) -> Client:
        self.close()
        self._client = Client(socket.create_connection(("127.0.0.1", self._port)))
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def findings(
    port: int, attempts: Iterable[Attempt], asker: Tenant, tenants: list[Tenant]
) -> list[str]:
    """Make the attempts at a port; return what was found: leaks, and what was not denied."""
    found = []
    prober = Prober(port)
    with contextlib.closing(prober):
        for attempt in attempts:
            answer = prober.ask(attempt)
            shown = matrix.leaked(attempt, answer.raw, asker, tenants)
            if shown:
                found.append(f"{attempt.what}: shows {', '.join(shown)}")
            if attempt.denied and (answer.status not in REFUSED or asker.secret in str(answer)):
                found.append(f"{attempt.what}: {answer.status}")
    return found


@attrs.frozen
class World:
    """A sqsuper with these tenants."""

    running: Running
    tenants: list[Tenant]


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def make_tenant(directory: Path, name: str, port: int, *, embedded: bool) -> Tenant:
    """Make a tenant's data: its secret stands in a phext that all know of, and in another."""
    data = directory / name
    data.mkdir(mode=0o700)
    secret = f"secret-{name}-{secrets.token_hex(8)}"
    tenant = Tenant(name, f"pmb-v1-{secrets.token_hex(16)}", secret, data, embedded, port)
    for phext in (tenant.known, tenant.hidden):
        (data / f"{phext}.phext").write_text(secret)
    return tenant


def plant_links(tenant: Tenant, others: Iterable[Tenant]) -> None:
    """Put links to the others' data into a tenant's directory."""
    for other in others:
        place = tenant.directory
        (place / f"link-{other.name}.phext").symlink_to(other.directory / f"{other.known}.phext")
        (place / f"link-{other.name}.phext.phext").symlink_to(
            f"../{other.directory.name}/{other.known}.phext"
        )
        (place / f"into-{other.name}").symlink_to(other.directory)


Build = Callable[..., World]


@pytest.fixture
def build(
    short_dir: Path, sqsuper_process: StartSqsuper, free_ports: Callable[[int], list[int]]
) -> Build:
    """Runs a sqsuper with such tenants: `build({name: embedded}, linked=…)`.

    `linked`: whose directories hold links to the others' data.
    """
    return lambda engines, linked: _build(short_dir, sqsuper_process, free_ports, engines, linked)


def _build(
    short_dir: Path,
    sqsuper_process: StartSqsuper,
    free_ports: Callable[[int], list[int]],
    engines: dict[str, bool],
    linked: Iterable[str],
) -> World:
    root = short_dir / "d"
    root.mkdir(mode=0o700)
    ports = free_ports(len(engines))
    tenants = [
        make_tenant(root, name, port, embedded=embedded)
        for (name, embedded), port in zip(engines.items(), ports, strict=True)
    ]
    entries: dict[str, Any] = {}
    for tenant in tenants:
        entry = entries[tenant.name] = {
            "token_sha256": [digest_of(tenant.token)],
            "port": tenant.port,
        }
        if tenant.name in linked:
            plant_links(tenant, [other for other in tenants if other is not tenant])
        if not tenant.embedded:
            command = ["sq", "host", "{port}", "--key", "{key}", "--data-dir", "{data_dir}"]
            entry |= {"engine": "command", "command": command}
    running = sqsuper_process(
        {
            "gateway": {"wrong_tokens_per_minute": 1_000_000},
            "data_root": str(root),
            "tenants": entries,
        }
    )
    for tenant in tenants:
        for attempt in matrix.own_reads(tenant):
            answer = Prober(running.port).ask(attempt)
            # Who is allowed to sees it: so it is seen where it must not be.
            assert tenant.secret.encode() in answer.body, (attempt.what, answer)
    return World(running, tenants)


def test_nobody_reaches_anothers_data(build: Build) -> None:
    without = shutil.which("sq") is None
    engines = {"alice": True, "carol": without, "bob": True, "dave": without}
    world = build(engines, linked=[name for name, embedded in engines.items() if embedded])
    gateway = world.running.port
    alice, carol, bob, dave = world.tenants
    found = []

    def attack(port: int, attempts: Iterable[Attempt], attacker: Tenant) -> None:
        found.extend(findings(port, attempts, attacker, world.tenants))

    # Each attacks, and each engine from each.
    pairs = ((alice, carol), (carol, bob), (bob, alice), (dave, carol))
    for attacker, victim in pairs:
        attack(gateway, matrix.attempts(attacker, victim), attacker)
        attack(gateway, matrix.double_attempts(attacker, victim), attacker)
        # At the victim's own port the attacker's token is nothing.
        attack(victim.port, matrix.foreign_attempts(attacker, victim), attacker)
    for attacker, victim in pairs[:2]:
        attack(gateway, matrix.strangers_attempts(attacker, victim), attacker)
        attack(victim.port, matrix.strangers_attempts(attacker, victim), attacker)
    # At its own port a tenant gets no more than through the gateway.
    attack(alice.port, matrix.attempts(alice, bob), alice)
    if not carol.embedded:
        # That of a command engine takes the key of its spawn alone, which nobody has.
        attack(carol.port, matrix.foreign_attempts(carol, carol), carol)
    assert found == []
    assert matrix.trespasses(world.tenants, world.running.directory.parent) == []
    for tenant in world.tenants:
        kept = (tenant.directory / f"{tenant.known}.phext").read_bytes()
        assert tenant.secret.encode() in kept, tenant.name


@pytest.mark.real_sq
def test_a_link_that_sq_follows_is_found_out(build: Build) -> None:
    world = build({"alice": True, "dave": False}, linked=["dave"])
    alice, dave = world.tenants
    # As if it were of those who follow no links, it tries these names, too.
    tried = matrix.attempts(attrs.evolve(dave, embedded=True), alice)
    found = findings(world.running.port, tried, dave, world.tenants)
    assert found
    assert all(f"link-{alice.name}" in what or f"into-{alice.name}" in what for what in found)


class Leaky(http.server.BaseHTTPRequestHandler):
    """A server that isolates nobody: what it answers is its server's to say."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = self.server.answer(self.headers)  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def leaky(answer: Callable[[Message], tuple[int, bytes]]) -> Iterator[int]:
    """Run one; give its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Leaky)
    server.answer = answer  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def both(tmp_path: Path) -> list[Tenant]:
    return [make_tenant(tmp_path, name, 1, embedded=True) for name in ("mallory", "bob")]


def test_a_server_that_shows_anothers_data_is_found_out(both: list[Tenant]) -> None:
    mallory, bob = both
    tried = [*matrix.attempts(mallory, bob), *matrix.strangers_attempts(mallory, bob)][::17]
    with leaky(lambda _: (200, f"... {bob.secret} ...".encode())) as port:
        found = findings(port, tried, mallory, both)
    assert {what.rpartition(": ")[0] for what in found} == {attempt.what for attempt in tried}


def test_a_server_that_shows_anothers_names_is_found_out(both: list[Tenant]) -> None:
    mallory, bob = both
    tried = [a for a in matrix.attempts(mallory, bob) if b"/list" in a.raw]
    with leaky(lambda _: (200, json.dumps([bob.hidden]).encode())) as port:
        assert len(findings(port, tried, mallory, both)) == len(tried) > 10


@pytest.mark.parametrize(
    "admits",
    [
        pytest.param(lambda held, token: held and token.startswith(held), id="a prefix"),
        pytest.param(lambda held, token: held.lower() == token, id="another case"),
        pytest.param(lambda held, token: token in held, id="a part"),
        pytest.param(lambda held, token: held == digest_of(token), id="its digest"),
        pytest.param(lambda held, token: held == "", id="nothing"),
    ],
)
def test_a_server_that_admits_what_is_no_token_is_found_out(
    both: list[Tenant], admits: Callable[[str, str], bool]
) -> None:
    mallory, bob = both

    def answer(headers: Message) -> tuple[int, bytes]:
        held = headers.get("X-SQ-API-Key", "")
        known = "X-SQ-API-Key" in headers and held != bob.token and admits(held, bob.token)
        return (200, b"as you like") if known else (401, b"no")

    tried = [a for a in matrix.strangers_attempts(mallory, bob) if b"/version" in a.raw]
    with leaky(answer) as port:
        assert findings(port, tried, mallory, both)


def test_a_mark_in_anothers_directory_is_found(both: list[Tenant], tmp_path: Path) -> None:
    mallory, bob = both
    (mallory.directory / "own.phext").write_text(mallory.mark)
    assert matrix.trespasses(both, tmp_path) == []
    file = bob.directory / "deep" / "file"
    file.parent.mkdir()
    file.write_text(f"... {mallory.mark} ...")
    (tmp_path / "anywhere").write_text(bob.mark)
    assert sorted(matrix.trespasses(both, tmp_path)) == sorted(
        [f"mallory wrote to {file}", f"bob wrote to {tmp_path / 'anywhere'}"]
    )
