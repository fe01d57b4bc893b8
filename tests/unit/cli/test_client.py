"""What the client sends, and what each answer means."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sqsuper.cli.client import Client, tenant_path
from sqsuper.cli.errors import (
    CommandError,
    DeniedError,
    MissingError,
    RefusedError,
    ServiceError,
    UnreachableError,
)
from sqsuper.cli.finding import Access
from sqsuper.whereabouts import Address
from tests.running import free_port
from tests.tls_support import make
from tests.unit.cli.conftest import TOKEN, Admin, Command, configure


def client(port: int, token: str | None = TOKEN) -> Client:
    return Client(Access(Path("t.yaml"), Address(port=port), token, "none there"), timeout=10)


@pytest.fixture
def answering() -> Iterator[tuple[int, list[bytes]]]:
    """A port where each connection gets the bytes of the list."""
    answers: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server, serving(server, answers):
        yield server.getsockname()[1], answers


@contextmanager
def serving(server: socket.socket, answers: list[bytes]) -> Iterator[None]:
    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except ssl.SSLError:  # a handshake that the client broke off
                continue
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"".join(answers))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_what_is_sent(admin: Admin) -> None:
    admin.answers["POST /x"] = (200, {"ok": True})
    assert client(admin.port).call("POST", "/x", {"a": 1}) == {"ok": True}
    (asked,) = admin.asked
    assert asked.body == {"a": 1}
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["host"] == f"localhost:{admin.port}"
    assert asked.headers["content-type"] == "application/json"
    assert "origin" not in asked.headers


def test_a_get_has_no_body(admin: Admin) -> None:
    admin.answers["GET /x?lines=5"] = (200, [])
    assert client(admin.port).get("/x", lines=5) == []
    assert "content-length" not in admin.asked[0].headers
    assert "content-type" not in admin.asked[0].headers


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("alice", "/api/v2/admin/tenants/alice"),
        ("../x", "/api/v2/admin/tenants/..%2Fx"),
        ("a?b#c d", "/api/v2/admin/tenants/a%3Fb%23c%20d"),
    ],
)
def test_a_name_is_one_part_of_the_path(name: str, path: str) -> None:
    assert tenant_path(name) == path
    assert tenant_path(name, "tokens", "a/b") == path + "/tokens/a%2Fb"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, ServiceError),
        (400, RefusedError),
        (401, DeniedError),
        (403, DeniedError),
        (404, MissingError),
        (409, RefusedError),
        (421, RefusedError),
        (500, ServiceError),
        (503, ServiceError),
    ],
)
def test_an_error_has_the_services_words(
    status: int, error: type[CommandError], admin: Admin
) -> None:
    admin.answers["GET /x"] = (status, {"error": {"code": "c", "message": "what is wrong"}})
    with pytest.raises(CommandError, match=r"^what is wrong$") as caught:
        client(admin.port).get("/x")
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the service answered 500"),
        (b"<html>", "the service answered 500"),
        (b"no such thing\nmore", "the service answered 500: no such thing"),
        ({"error": "words", "code": "c"}, "words"),
        ([], "the service answered 500: []"),
    ],
)
def test_an_error_without_words(body: object, told: str, admin: Admin) -> None:
    admin.answers["GET /x"] = (500, body)
    with pytest.raises(ServiceError) as caught:
        client(admin.port).get("/x")
    assert str(caught.value) == told


def test_nobody_there() -> None:
    port = free_port()
    for token in (TOKEN, None):
        with pytest.raises(UnreachableError, match=rf"127\.0\.0\.1:{port}.*sqsuper run -c t\.yaml"):
            client(port, token).get("/x")


def test_no_token_to_give(admin: Admin) -> None:
    with pytest.raises(DeniedError, match="none there"):
        client(admin.port, None).get("/x")
    assert admin.asked == []


def test_a_wrong_token(admin: Admin) -> None:
    with pytest.raises(DeniedError):
        client(admin.port, "wrong").get("/x")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
    ],
)
def test_somebody_else_there(answer: bytes, answering: tuple[int, list[bytes]]) -> None:
    port, answers = answering
    answers.append(answer)
    with pytest.raises((ServiceError, UnreachableError)):
        client(port).get("/x")


def test_lines_as_they_come(answering: tuple[int, list[bytes]]) -> None:
    port, answers = answering
    answers.append(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"6\r\none\ntw\r\n5\r\no\n\xff\x1b\n\r\n0\r\n\r\n"
    )
    assert list(client(port).lines("/x", follow=1)) == ["one", "two", "\ufffd\x1b"]


def test_a_unix_socket(short_dir: Path) -> None:
    path = str(short_dir / "a.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        with serving(server, [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]):
            access = Access(Path("t.yaml"), Address(path=path), TOKEN)
            assert Client(access).get("/x") == {}


def test_tls_takes_the_services_own_certificate_and_no_other(here: Path) -> None:
    ours, theirs = (make(here, stem, names=("example.org",)) for stem in ("ours", "theirs"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours.certificate, ours.key)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        with (
            context.wrap_socket(server, server_side=True) as listening,
            serving(listening, [answer]),
        ):
            address = Address(port=port, certificate=str(ours.certificate))
            assert Client(Access(Path("t"), address, TOKEN)).get("/x") == {}
            address = Address(port=port, certificate=str(theirs.certificate))
            with pytest.raises(UnreachableError):
                Client(Access(Path("t"), address, TOKEN)).get("/x")


def test_each_error_has_its_exit_status(admin: Admin, command: Command, here: Path) -> None:
    target = "GET /api/v2/admin/tenants"
    expected = {401: 4, 403: 4, 404: 5, 409: 6, 500: 7}
    for status, exit_status in expected.items():
        admin.answers[target] = (status, {"error": {"code": "c", "message": "because\x1b[0m"}})
        done = command("status")
        assert done.status == exit_status
        assert done.err == "sqsuper: because\\x1b[0m\n"
        assert done.out == ""
    configure(here, free_port())
    assert command("status").status == 3
