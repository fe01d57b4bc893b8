"""What keeps others away from the admin listener, over real sockets."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any

import pytest

from sqsuper.admin.sessions import COOKIE, SECURE_COOKIE
from tests.conftest import StartSqsuper
from tests.integration.admin_support import Admin
from tests.integration.test_main_job import digest
from tests.running import Answer, Running, eventually, free_port, listens
from tests.tls_support import Made

HUMAN = {"human": {"token_sha256": [digest("human")]}}
PATHS = [
    "/health",
    "/metrics",
    "/api/v2/metrics",
    "/admin/tenants",
    "/api/v2/admin/tenants",
    "/api/v2/admin/tenants/human",
    "/api/v2/admin/openapi.json",
    "/nothing",
]


@pytest.fixture
def admin(sqsuper_process: StartSqsuper) -> Admin:
    config = {"gateway": {"wrong_tokens_per_minute": 3}, "tenants": HUMAN}
    return Admin.of(sqsuper_process(config))


def raw(admin: Admin, request: bytes) -> bytes:
    """Return all that is answered to some bytes, until the connection is closed."""
    with socket.create_connection(("127.0.0.1", admin.running.admin_port), 30) as client:
        client.sendall(request)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


def test_every_answer_has_the_headers_and_none_lets_other_pages_in(admin: Admin) -> None:
    answers: list[Answer] = []
    for path in PATHS:
        answers.append(admin.ask("GET", path))
        answers.append(admin.ask("GET", path, signed=False))
        answers.append(admin.ask("GET", path, headers={"Host": "evil.example"}))
        preflight = {"Origin": "http://evil", "Access-Control-Request-Method": "GET"}
        answers.append(admin.ask("OPTIONS", path, headers=preflight))
    for answer in answers:
        assert (answer.header("content-security-policy") or "").startswith("default-src 'none'; ")
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("referrer-policy") == "no-referrer"
        assert answer.header("cache-control") == "no-store"
        assert answer.header("server") == "sqsuper"
        assert not any(name.startswith("access-control-") for name, _ in answer.headers)
    assert {answer.status for answer in answers} == {200, 401, 404, 405, 421}


def test_another_host_learns_nothing(admin: Admin) -> None:
    port = admin.running.admin_port
    for host in ("evil.example", f"evil.example:{port}", "localhost", "127.0.0.1:1", ""):
        for path in PATHS:
            assert admin.ask("GET", path, headers={"Host": host}).status == 421
        assert admin.ask("POST", "/api/v2/reload", headers={"Host": host}).status == 421
    # Nor does it count as a sign-in.
    wrong = {"Host": "evil.example", "Authorization": "wrong"}
    assert admin.ask("GET", "/metrics", headers=wrong).status == 421
    assert admin.get("/session")["failed_attempts"]["admin"] == 0
    for host in (f"localhost:{port}", f"127.0.0.1:{port}"):
        assert admin.ask("GET", "/admin/tenants", headers={"Host": host}).status == 200


def test_nothing_of_it_is_at_the_gateway_and_nothing_of_that_here(admin: Admin) -> None:
    for path in ("/api/v2/admin/tenants", "/admin/tenants", "/api/v2/admin/session"):
        for token in ("human", admin.token):
            answer = admin.running.request("GET", path, token=token)
            assert answer.status == (404 if token == "human" else 401)
    assert admin.running.request("POST", "/api/v2/reload", token="human").status == 403
    for path in ("/api/v2/select?p=p&c=1.1.1/1.1.1/1.1.1", "/api/v2/version"):
        assert admin.ask("GET", path).status == 404
        assert admin.ask("GET", path, headers={"Authorization": "human"}).status == 404


def test_a_tenants_token_is_no_admins(admin: Admin) -> None:
    for path in PATHS[1:-2]:
        assert admin.ask("GET", path, headers={"Authorization": "Bearer human"}).status in (
            401,
            429,
        )


def test_guessing(admin: Admin) -> None:
    wrong = {"Authorization": "Bearer pmb-v1-00000000000000000000000000000000"}
    statuses = [admin.ask("GET", "/metrics", headers=wrong).status for _ in range(4)]
    assert statuses == [401, 401, 401, 429]
    answer = admin.ask("POST", "/api/v2/admin/session", {"token": "wrong"}, signed=False)
    assert answer.status == 429
    assert int(answer.header("retry-after") or 0) > 0
    assert admin.ask("GET", "/metrics").status == 200
    assert admin.get("/tenants")["failed_attempts"]["admin"] == 5
    # The gateway counts for itself.
    assert admin.running.request("GET", "/api/v2/version", token="wrong").status == 401


def test_a_session(admin: Admin) -> None:
    port = admin.running.admin_port
    origin = {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}
    planted = {**origin, "Cookie": f"{COOKIE}=planted"}
    answer = admin.ask(
        "POST", "/api/v2/admin/session", {"token": admin.token}, headers=planted, signed=False
    )
    assert answer.status == 200
    cookie, *attributes = (answer.header("set-cookie") or "").split("; ")
    assert cookie != f"{COOKIE}=planted"
    assert set(attributes) == {"Max-Age=43200", "Path=/", "HttpOnly", "SameSite=Strict"}
    csrf = json.loads(answer.body)["csrf_token"]
    good = {**origin, "Cookie": cookie, "X-CSRF-Token": csrf}

    def ask(method: str, path: str, **other: str | None) -> int:
        fields = {**good, **{name.replace("_", "-"): value for name, value in other.items()}}
        sent = {name: value for name, value in fields.items() if value is not None}
        return admin.ask(method, f"/api/v2/admin{path}", headers=sent, signed=False).status

    assert ask("GET", "/tenants", Origin=None) == 200
    assert ask("POST", "/tenants/human/reset") == 200
    lacking: list[dict[str, Any]] = [
        {"X_CSRF_Token": None},
        {"Origin": None},
        {"Origin": f"http://localhost:{port}"},
        {"Origin": f"http://127.0.0.1:{port + 1}"},
        {"Sec_Fetch_Site": "same-site"},
    ]
    for one in lacking:
        assert ask("POST", "/tenants/human/reset", **one) == 403
    assert ask("POST", "/tenants/human/reset", Sec_Fetch_Site=None) == 200
    assert ask("DELETE", "/session") == 200
    assert ask("GET", "/tenants") == 401


def test_reload_needs_no_token_on_this_machine_but_in_a_browser(admin: Admin) -> None:
    assert admin.ask("POST", "/api/v2/reload", signed=False).status == 200
    for name in ("Origin", "Sec-Fetch-Site", "Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"):
        assert admin.ask("POST", "/api/v2/reload", headers={name: "x"}, signed=False).status == 401
    assert admin.ask("POST", "/api/v2/reload", headers={"Origin": "x"}).status == 200
    assert admin.ask("GET", "/api/v2/reload", signed=False).status == 405


def test_bodies(admin: Admin) -> None:
    path = "/api/v2/admin/tenants/add"
    body = json.dumps({"tenant_id": "bob"}).encode()
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ):
        assert admin.ask("POST", path, body, headers={"Content-Type": kind}).status == 415
    assert admin.ask("POST", path, b'{"tenant_id": "bob"').status == 400
    assert admin.get("/tenants/human")["tenant_id"] == "human"
    start = f"POST {path} HTTP/1.1\r\nHost: localhost:{admin.running.admin_port}\r\n".encode()
    start += f"Authorization: {admin.token}\r\nContent-Type: application/json\r\n".encode()
    answer = raw(admin, start + b"Content-Length: 99999999\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nContent-Security-Policy: " in answer
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    answer = raw(admin, start + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 17)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert [one["tenant_id"] for one in admin.get("/tenants")["tenants"]] == ["human"]


def test_the_token_file(admin: Admin) -> None:
    file = admin.running.directory / "run" / "admin.token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert str(file) in admin.running.output
    assert admin.token not in admin.running.output
    told = json.loads((file.parent / "admin.json").read_text())
    assert [one["port"] for one in told["listen"]] == [admin.running.admin_port]
    admin.running.close()
    assert not file.exists()
    assert not (file.parent / "admin.json").exists()


def test_tls(sqsuper_process: StartSqsuper, site: Made) -> None:
    port = free_port()
    running: Running = sqsuper_process({"admin": {"listen": [site.endpoint(port)]}})
    running.admin_port = port
    eventually(lambda: listens(port), "the admin listener", 30)
    context = ssl.create_default_context(cafile=str(site.authority))
    context.check_hostname = False
    context.set_alpn_protocols(["h2", "http/1.1"])
    admin = Admin.of(running)
    host = {"Host": f"localhost:{port}"}
    assert admin.ask("GET", "/admin/tenants", headers=host, tls=context).status == 200
    body = {"token": admin.token}
    origin = {**host, "Origin": f"https://localhost:{port}"}
    answer = admin.ask(
        "POST", "/api/v2/admin/session", body, headers=origin, signed=False, tls=context
    )
    cookie = answer.header("set-cookie") or ""
    assert cookie.startswith(f"{SECURE_COOKIE}=")
    assert cookie.endswith("; Secure")
    plain = {**host, "Origin": f"http://localhost:{port}"}
    answer = admin.ask(
        "POST", "/api/v2/admin/session", body, headers=plain, signed=False, tls=context
    )
    assert answer.status == 403


def test_a_port_that_is_taken_ends_the_start(
    sqsuper_process: StartSqsuper, admin: Admin, tmp_path: Any
) -> None:
    from tests.running import twistd

    tmp_path.chmod(0o700)
    taken = f"tcp:{admin.running.admin_port}:interface=127.0.0.1"
    config = {
        "gateway": {"listen": ["tcp:0:interface=127.0.0.1"]},
        "admin": {"listen": [taken]},
        "run_dir": "r",
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    done = twistd("-n", "--pidfile=", "sqsuper", "-c", "c.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{admin.running.admin_port}" in done.stderr
    assert not (tmp_path / "r" / "admin.token").exists()
