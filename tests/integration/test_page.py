"""The status page without a browser: who gets what, with which headers."""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.admin_support import Admin
from tests.integration.page_support import printing, service
from tests.integration.test_main_job import digest
from tests.running import Answer, eventually

HOSTILE = "</script><script>alert(1)</script>"
STREAMS = 32


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    directory = Path(f"/tmp/sqs-q{os.getpid()}-{tmp_path_factory.getbasetemp().name}")
    directory.mkdir(mode=0o700)
    tenants: dict[str, Any] = {
        name: {"token_sha256": [digest(name)]} for name in ("alice", "bob", "carol")
    }
    command = {"engine": "command", "command": printing(HOSTILE), "start": "eager"}
    tenants["mallory"] = {"token_sha256": [digest("mallory")], **command}
    with service(directory, {"tenants": tenants}) as one:
        yield one


def link(admin: Admin) -> str:
    path: str = admin.done("POST", "/session/link", {}, 201)["path"]
    return path


def cookie(answer: Answer) -> str:
    set_cookie = answer.header("set-cookie")
    assert set_cookie is not None
    return set_cookie.partition(";")[0]


@pytest.fixture
def signed(admin: Admin) -> dict[str, str]:
    return {"Cookie": cookie(admin.ask("GET", link(admin), signed=False))}


def get(admin: Admin, path: str, **headers: str) -> Answer:
    return admin.ask("GET", path, headers=headers, signed=False)


# Who gets in


@pytest.mark.parametrize("path", ["/", "/tenants/alice", "/tenants/nobody"])
def test_a_stranger_sees_where_to_sign_in_and_nothing_else(admin: Admin, path: str) -> None:
    answer = get(admin, path)
    assert answer.status == 401
    assert b"Sign in" in answer.body
    assert b"alice" not in answer.body.replace(b"placeholder", b"")


@pytest.mark.parametrize("path", ["/events/stream", "/events/stream/alice"])
def test_a_stranger_gets_no_stream(admin: Admin, path: str) -> None:
    assert get(admin, path).status == 401


def test_a_link_is_used_once_and_not_by_who_only_looks(admin: Admin) -> None:
    path = link(admin)
    assert admin.ask("HEAD", path, signed=False).header("set-cookie") is None
    ahead = {"Sec-Purpose": "prefetch;prerender", "Purpose": "Prefetch", "X-Purpose": "preview"}
    for name, value in {**ahead, "X-Moz": "prefetch"}.items():
        assert get(admin, path, **{name: value}).status == 403
    answer = get(admin, path)
    assert answer.status == 200
    assert "HttpOnly" in (answer.header("set-cookie") or "")
    assert get(admin, "/", Cookie=cookie(answer)).status == 200
    again = get(admin, path)
    assert again.status == 401
    assert again.header("set-cookie") is None


def test_guessed_links_count_as_failed_sign_ins(admin: Admin) -> None:
    before = admin.get("/session")["failed_attempts"]["admin"]
    assert get(admin, "/sign-in/" + "x" * 43).status == 401
    assert admin.get("/session")["failed_attempts"]["admin"] == before + 1


def test_nothing_of_it_is_on_the_gateways_port(admin: Admin) -> None:
    for path in ("/", "/tenants/alice", "/events/stream", "/static/x/page.css"):
        answer = admin.running.request("GET", path, token="alice")
        assert b"Sign in" not in answer.body
        assert b"<!doctype" not in answer.body


# What they get


def test_pages_carry_the_policy_and_are_not_kept(admin: Admin, signed: dict[str, str]) -> None:
    for path in ("/", "/tenants/alice", "/tenants/nobody"):
        answer = get(admin, path, **signed)
        policy = answer.header("content-security-policy") or ""
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.header("cache-control") == "no-store"
        assert answer.header("access-control-allow-origin") is None
        assert not re.search(rb"<script(?![^>]* src=)|\son\w+=|\sstyle=", answer.body)


def test_what_the_pages_name_is_there_and_kept_for_good(
    admin: Admin, signed: dict[str, str]
) -> None:
    pages = [get(admin, path, **signed).body.decode() for path in ("/", "/tenants/alice")]
    pages.append(get(admin, "/").body.decode())
    named = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', "".join(pages)))
    assert len(named) >= 7
    for path in named:
        answer = get(admin, path)
        assert answer.status == 200, path
        assert "immutable" in (answer.header("cache-control") or "")
        etag = answer.header("etag") or ""
        assert get(admin, path, **{"If-None-Match": etag}).status == 304
        for other in re.findall(rb'from "\./([a-z]+\.js)"', answer.body):
            assert get(admin, f"{path.rpartition('/')[0]}/{other.decode()}").status == 200
    assert get(admin, "/static/../page.css").status == 404
    assert get(admin, "/static/%2e%2e%2fpage.css/x").status == 404


def test_what_tenants_print_is_escaped(admin: Admin, signed: dict[str, str]) -> None:
    def printed() -> bytes:
        body = get(admin, "/tenants/mallory", **signed).body
        return body if b"alert(1)" in body else b""

    body = eventually(printed, "its lines", 20)
    assert HOSTILE.encode() not in body
    assert b"&lt;script&gt;alert(1)" in body


def test_the_table_is_searched_filtered_and_sorted(admin: Admin, signed: dict[str, str]) -> None:
    def names(query: str) -> list[str]:
        body = get(admin, "/" + query, **signed).body.decode()
        return re.findall(r'<tr data-name="([a-z]+)"', body)

    assert names("") == ["alice", "bob", "carol", "mallory"]
    assert names("?q=ALI") == ["alice"]
    assert {"bob", "carol"} <= set(names("?group=idle")) <= {"alice", "bob", "carol"}
    eventually(lambda: names("?sort=restarts&group=nonsense")[0] == "mallory", "a restart", 20)
    assert names("?q=%3Cscript%3E") == []


# Streams


class Stream:
    """One that is open."""

    def __init__(self, admin: Admin, path: str, headers: dict[str, str]) -> None:
        port = admin.running.admin_port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        self.connection.request("GET", path, headers=headers)
        self.answer = self.connection.getresponse()

    def event(self) -> tuple[str, Any]:
        """Return the next event's name and data; fails at the end of the stream."""
        name = ""
        while line := self.answer.readline().decode():
            key, _, value = line.rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                return name, json.loads(value)
        raise EOFError

    def ended(self) -> bool:
        try:
            while True:
                self.event()
        except EOFError:
            return True

    def close(self) -> None:
        self.connection.close()


def test_the_stream_has_all_and_then_what_changes(admin: Admin, signed: dict[str, str]) -> None:
    stream = Stream(admin, "/events/stream", signed)
    assert stream.answer.getheader("content-type") == "text/event-stream"
    name, told = stream.event()
    assert (name, told["all"]) == ("rows", True)
    assert [row["name"] for row in told["rows"]] == ["alice", "bob", "carol", "mallory"]
    admin.running.request("GET", "/api/v2/toc?p=x", token="alice")
    states = []
    while "healthy" not in states:
        _, told = stream.event()
        states += [row["state"] for row in told["rows"] if row["name"] == "alice"]
        assert "bob" not in [row["name"] for row in told["rows"]]
    stream.close()


def test_a_tenants_stream_has_its_lines_and_ends_with_it(
    admin: Admin, signed: dict[str, str]
) -> None:
    admin.done("POST", "/tenants/add", {"tenant_id": "dave", "port": "none"}, 201)
    stream = Stream(admin, "/events/stream/dave", signed)
    name, told = stream.event()
    assert (name, told["row"]["name"]) == ("tenant", "dave")
    admin.done("DELETE", "/tenants/dave", {})
    while name != "gone":
        name, _ = stream.event()
    assert stream.ended()
    stream.close()


def test_streams_end_with_their_session_and_are_bounded(
    admin: Admin, signed: dict[str, str]
) -> None:
    streams = [Stream(admin, "/events/stream", signed) for _ in range(STREAMS + 1)]
    assert [one.answer.status for one in streams] == [200] * STREAMS + [429]
    session = admin.ask("GET", "/api/v2/admin/session", headers=signed, signed=False)
    own = f"http://127.0.0.1:{admin.running.admin_port}"
    csrf = json.loads(session.body)["csrf_token"]
    headers = {**signed, "Origin": own, "X-CSRF-Token": csrf}
    assert admin.ask("DELETE", "/api/v2/admin/session", headers=headers, signed=False).status == 200
    for one in streams[:STREAMS]:
        assert one.ended()
        one.close()


# The list of the API


def test_the_list_is_cut_into_pages(admin: Admin) -> None:
    first = admin.get("/tenants?limit=3")
    assert [one["tenant_id"] for one in first["tenants"]] == ["alice", "bob", "carol"]
    assert first["next"] == "carol"
    rest = admin.get(f"/tenants?limit=3&after={first['next']}")
    assert [one["tenant_id"] for one in rest["tenants"]] == ["mallory"]
    assert rest["next"] is None
    assert len(admin.get("/tenants")["tenants"]) == 4
    assert admin.get("/tenants?after=zzz")["tenants"] == []
