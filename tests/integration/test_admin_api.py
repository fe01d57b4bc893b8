"""The admin API of a service that runs: what it changes is so, at once and after a restart."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import StartSqsuper
from tests.integration.admin_support import Admin
from tests.integration.test_main_job import digest
from tests.running import Running, eventually, free_port, listens, start

SELECT = "/api/v2/select?p=p&c=1.1.1/1.1.1/1.1.1"
UPDATE = "/api/v2/update?p=p&c=1.1.1/1.1.1/1.1.1"
HUMAN = {"human": {"token_sha256": [{"sha256": digest("human"), "label": "laptop"}]}}
PATIENCE = 30.0


@pytest.fixture
def admin(sqsuper_process: StartSqsuper) -> Admin:
    first = free_port()
    running = sqsuper_process(
        {"tenants": HUMAN, "port_range": f"{first}-{first + 300}", "defaults": {"drain": "1s"}}
    )
    return Admin.of(running)


def served(admin: Admin, token: str) -> int:
    return admin.running.request("GET", SELECT, token=token).status


def add(admin: Admin, name: str = "bob", **more: Any) -> dict[str, Any]:
    added: dict[str, Any] = admin.done(
        "POST", "/tenants/add", {"tenant_id": name, **more}, status=201
    )
    return added


def in_tenants_d(admin: Admin) -> list[str]:
    directory = admin.running.directory / "tenants.d"
    return sorted(os.listdir(directory)) if directory.exists() else []


def test_a_tenant_comes_and_goes(admin: Admin) -> None:
    added = add(admin, quota_mb=5, admin_email="bob@box.example")
    assert added["tenant_id"] == "bob"
    assert re.fullmatch(r"pmb-v1-[0-9a-f]{32}", added["api_key"])
    assert added["data_dir"] == str(admin.running.directory / "data" / "bob")
    # It is served when that is answered: at the gateway, and at its own port.
    update = admin.running.request("POST", UPDATE, token=added["api_key"], body=b"kept")
    assert update.status == 200
    assert listens(added["port"])
    shown = admin.get("/tenants/bob")
    assert (shown["state"], shown["enabled"], shown["port"]) == ("healthy", True, added["port"])
    assert (shown["quota_bytes"], shown["admin_email"]) == (5 << 20, "bob@box.example")
    assert shown["pid"] in {child.pid for child in admin.running.children()}
    assert shown["uptime_s"] is not None
    assert shown["last_active"] is not None
    assert shown["origin"]["managed"]
    everything = admin.get("/tenants")["tenants"]
    assert [one["tenant_id"] for one in everything] == ["bob", "human"]
    assert admin.get("/tenants/bob/stats")["tenant_id"] == "bob"
    assert in_tenants_d(admin) == ["bob.yaml"]

    gone = admin.done("DELETE", "/tenants/bob")
    assert gone["status"] == "removed"
    assert (Path(gone["archive"]) / "p.phext").read_bytes() == b"kept"
    assert Path(gone["archive"]).parent == admin.running.directory / "data" / ".archive"
    assert not Path(added["data_dir"]).exists()
    assert served(admin, added["api_key"]) == 401
    assert not listens(added["port"])
    assert in_tenants_d(admin) == []
    # The name is free again, without what was there.
    again = add(admin)
    assert served(admin, again["api_key"]) == 200
    assert admin.running.request("GET", SELECT, token=again["api_key"]).body == b""


def test_secrets_are_shown_once_and_are_nowhere(admin: Admin) -> None:
    added = add(admin)
    token = admin.done("POST", "/tenants/bob/tokens", {"label": "x"}, status=201)["token"]
    rotated = admin.done("POST", "/tenants/bob/tokens/x/rotate", {}, status=201)["token"]
    wrong = "pmb-v1-ffffffffffffffffffffffffffffffff"
    assert served(admin, wrong) == 401
    assert admin.ask("GET", "/metrics", headers={"Authorization": wrong}).status == 401
    seen = admin.running.output
    for path in ("/tenants", "/tenants/bob/tokens", "/events", "/plan", "/tenants/bob/stats"):
        seen += json.dumps(admin.get(path))
    for file in admin.running.directory.rglob("*"):
        if file.is_file() and file.name != "admin.token":
            seen += file.read_text(errors="replace")
    for secret in (added["api_key"], token, rotated, wrong, admin.token):
        assert secret not in seen
    assert len({added["api_key"], token, rotated}) == 3
    assert admin.get("/tenants")["failed_attempts"] == {"admin": 1, "gateway": 1}


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        ({}, 400, "tenant_id"),
        ({"tenant_id": "Bob"}, 400, "a-z 0-9"),
        ({"tenant_id": "../bob"}, 400, "a-z 0-9"),
        ({"tenant_id": "bob", "quota": 1}, 400, 'unknown key "quota"'),
        ({"tenant_id": "bob", "quota_mb": -1}, 400, "quota_mb: must be a whole number from 1"),
        ({"tenant_id": "bob", "port": 0}, 400, "port: "),
        ({"tenant_id": "bob", "data_dir": "/etc"}, 400, "data_dir"),
        ({"tenant_id": "bob", "user": "root"}, 400, "user"),
        ({"tenant_id": "bob", "engine": "command"}, 400, "engine"),
        ({"tenant_id": "bob", "expires": "tomorrow"}, 400, "expires: must be a time"),
        ({"tenant_id": "human"}, 409, "already"),
    ],
)
def test_what_is_wrong_changes_nothing(
    shared: Admin, given: dict[str, Any], status: int, told: str
) -> None:
    before = shared.get("/tenants")["tenants"], in_tenants_d(shared)
    assert told in shared.refused("POST", "/tenants/add", given, status)
    assert (shared.get("/tenants")["tenants"], in_tenants_d(shared)) == before


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """A service for tests that change nothing."""
    directory = Path(f"/tmp/sqs-{os.getpid()}-{tmp_path_factory.getbasetemp().name}")
    directory.mkdir(mode=0o700)
    port, admin_port = free_port(), free_port()
    file = directory / "tenants.yaml"
    file.touch(mode=0o600)
    file.write_text(
        json.dumps(
            {
                "gateway": {"listen": [f"tcp:{port}:interface=127.0.0.1"]},
                "admin": {"listen": [f"tcp:{admin_port}:interface=127.0.0.1"]},
                "tenants": HUMAN,
            }
        )
    )
    running = start(directory, file, port)
    running.admin_port = admin_port
    try:
        eventually(running.healthy, "GET /health answers 200", 20)
        yield Admin.of(running)
    finally:
        running.close()
        shutil.rmtree(directory)


class TestByHand:
    """A tenant that stands in somebody's own file."""

    def test_other_changes_are_refused_with_the_place(self, shared: Admin) -> None:
        file = shared.running.directory / "tenants.yaml"
        before = file.read_bytes()
        for method, path, body in (
            ("PATCH", "/tenants/human", {"quota_mb": 7}),
            ("DELETE", "/tenants/human", None),
            ("POST", "/tenants/human/tokens", {}),
            ("POST", "/tenants/human/tokens/laptop/rotate", {}),
        ):
            told = shared.done(method, path, body, 409)["error"]
            assert (told["file"], told["line"]) == (str(file), 1)
        assert file.read_bytes() == before
        assert in_tenants_d(shared) == []

    def test_what_the_overlay_may_change(self, admin: Admin) -> None:
        file = admin.running.directory / "tenants.yaml"
        before = file.read_bytes()
        assert served(admin, "human") == 200
        assert admin.done("POST", "/tenants/human/disable")["state"] in (
            "disabled",
            "draining",
            "stopping",
            "stopped",
        )
        assert served(admin, "human") == 403
        origin = admin.get("/tenants/human")["origin"]
        assert origin["overlay"]
        assert origin["changed_by_overlay"] == ["disabled"]
        admin.done("POST", "/tenants/human/enable")
        assert served(admin, "human") == 200
        assert not admin.get("/tenants/human")["origin"]["overlay"]
        revoked = admin.done("DELETE", "/tenants/human/tokens/laptop")
        assert revoked["digest8"] == digest("human")[:8]
        assert served(admin, "human") == 401
        states = [token["state"] for token in admin.get("/tenants/human/tokens")]
        assert states == ["revoked"]
        assert file.read_bytes() == before
        # A reload reads all of it, and changes nothing.
        answer = admin.ask("POST", "/api/v2/reload", signed=False)
        assert json.loads(answer.body)["result"] == "unchanged"
        assert served(admin, "human") == 401

    def test_it_lasts_over_a_restart(self, admin: Admin) -> None:
        running = admin.running
        add(admin)
        admin.done("POST", "/tenants/bob/stop")
        assert served(admin, "human") == 200
        (used,) = admin.get("/tenants/human/tokens")
        admin.done("POST", "/tenants/human/disable")
        assert running.stop() in (0, -15)
        again = start(running.directory, running.directory / "tenants.yaml", running.port)
        again.admin_port = running.admin_port
        try:
            eventually(again.healthy, "GET /health answers 200", 20)
            one = Admin.of(again)
            assert one.token != admin.token
            assert one.get("/tenants/human")["state"] == "disabled"
            (kept,) = one.get("/tenants/human/tokens")
            assert abs(kept["last_used"] - used["last_used"]) < 0.01
            bob = one.get("/tenants/bob")
            assert (bob["held"], bob["origin"]["overlay"]) == (True, True)
            one.done("POST", "/tenants/bob/start")
            assert not one.get("/tenants/bob")["held"]
        finally:
            again.close()


class TestInstances:
    def test_by_hand(self, admin: Admin) -> None:
        token = add(admin, port="none")["api_key"]
        assert admin.get("/tenants/bob")["port"] is None
        assert served(admin, token) == 200
        first = admin.get("/tenants/bob")["pid"]
        assert admin.done("POST", "/tenants/bob/restart")["state"] == "healthy"
        second = admin.get("/tenants/bob")["pid"]
        assert first != second
        rolled = admin.done("POST", "/restart", {"max_unavailable": 2})
        assert rolled["restarted"] == ["bob"]
        third = admin.get("/tenants/bob")["pid"]
        assert third not in (first, second)
        assert admin.done("POST", "/tenants/bob/stop")["state"] == "stopped"
        assert served(admin, token) == 503
        assert admin.get("/tenants/bob")["pid"] is None
        assert admin.done("POST", "/tenants/bob/reset")["tenant_id"] == "bob"
        assert served(admin, token) == 503
        admin.done("POST", "/tenants/bob/start")
        assert served(admin, token) == 200
        why = admin.get("/tenants/bob/why")
        assert (why["tenant"], why["state"], why["held"]) == ("bob", "healthy", False)
        admin.done("POST", "/tenants/bob/disable")
        assert "enable it first" in admin.refused("POST", "/tenants/bob/start", None, 409)
        admin.done("POST", "/tenants/bob/enable")
        assert served(admin, token) == 200

    def test_each_change_leaves_a_line(self, admin: Admin) -> None:
        add(admin)
        admin.done("POST", "/tenants/bob/stop")
        admin.done("DELETE", "/tenants/bob")
        told = [e for e in admin.get("/events")["events"] if e["kind"] == "admin"]
        assert [event["cause"] for event in told] == ["tenant.add", "tenant.stop", "tenant.remove"]
        for event in told:
            assert event["tenant_id"] == "bob"
            assert (event["facts"]["by"], event["facts"]["address"]) == ("token", "127.0.0.1")
            assert event["text"] in admin.running.output
        assert len(admin.get("/events?last=1")["events"]) == 1

    def test_lines(self, admin: Admin) -> None:
        add(admin)
        assert admin.get("/tenants/bob/logs?lines=5") == {"lines": []}
        connection = http.client.HTTPConnection("127.0.0.1", admin.running.admin_port, timeout=30)
        fields = {"Authorization": f"Bearer {admin.token}"}
        connection.request("GET", "/api/v2/admin/tenants/bob/logs?follow=1", headers=fields)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("Content-Type") == "application/x-ndjson"
        connection.close()
        # It does not hold up the end, nor whoever asks next.
        assert admin.get("/tenants/bob")["tenant_id"] == "bob"


class TestTokens:
    def test_issue_list_rotate_revoke(self, admin: Admin) -> None:
        add(admin)
        made = admin.done(
            "POST", "/tenants/bob/tokens", {"label": "ci", "scope": "ro", "expires": "1h"}, 201
        )
        assert (made["label"], made["scope"], made["state"]) == ("ci", "ro", "valid")
        assert abs(made["expires"] - time.time() - 3600) < 60
        assert served(admin, made["token"]) == 200
        assert admin.running.request("POST", UPDATE, token=made["token"], body=b"x").status == 403
        listed = {token["digest8"]: token for token in admin.get("/tenants/bob/tokens")}
        assert listed[made["digest8"]]["last_used"] is not None
        assert [t["last_used"] for t in listed.values()].count(None) == 1

        rotated = admin.done("POST", "/tenants/bob/tokens/ci/rotate", {"overlap": "2s"}, 201)
        assert rotated["replaces"]["digest8"] == made["digest8"]
        assert (rotated["label"], rotated["scope"]) == ("ci", "ro")
        assert served(admin, rotated["token"]) == 200
        eventually(lambda: served(admin, made["token"]) == 401, "the old one ends", PATIENCE)
        assert served(admin, rotated["token"]) == 200
        assert "digest8" in admin.refused("DELETE", "/tenants/bob/tokens/ci", None, 409)
        admin.done("DELETE", f"/tenants/bob/tokens/{rotated['digest8']}")
        assert served(admin, rotated["token"]) == 401
        assert len(admin.get("/tenants/bob/tokens")) == 2
        assert admin.ask("POST", "/api/v2/reload").status == 200
        assert len(admin.get("/tenants/bob/tokens")) == 2

    def test_an_end_that_is_over_or_wrong(self, shared: Admin) -> None:
        assert "no such token" in shared.refused("DELETE", "/tenants/human/tokens/x", None, 404)
        assert "no such tenant" in shared.refused("GET", "/tenants/x/tokens", None, 404)

    @pytest.mark.parametrize("by_hand", [True, False])
    def test_revoking_cuts_what_is_under_way(self, admin: Admin, by_hand: bool) -> None:
        token = "human" if by_hand else add(admin)["api_key"]
        name = "human" if by_hand else "bob"
        with socket.create_connection(("127.0.0.1", admin.running.port), 30) as client:
            head = f"POST {UPDATE} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
            client.sendall(f"{head}Content-Length: 1000000\r\n\r\nbegin".encode())
            eventually(lambda: admin.get(f"/tenants/{name}")["state"] == "healthy", "", PATIENCE)
            digest8 = admin.get(f"/tenants/{name}/tokens")[0]["digest8"]
            admin.done("DELETE", f"/tenants/{name}/tokens/{digest8}")
            client.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1000)[9:12] in (b"", b"401")
        assert served(admin, token) == 401


class TestConfiguration:
    def test_a_change(self, admin: Admin) -> None:
        token = add(admin)["api_key"]
        changed = admin.done("PATCH", "/tenants/bob", {"quota_mb": 1, "limits": {"threads": 9}})
        assert changed["quota_bytes"] == 1 << 20
        assert (
            admin.running.request("POST", UPDATE, token=token, body=b"x" * 1_200_000).status == 507
        )
        assert admin.done("PATCH", "/tenants/bob", {"quota_mb": None})["quota_bytes"] == 1000 << 20
        file = admin.running.directory / "tenants.d" / "bob.yaml"
        before = file.read_bytes()
        for body in ({"quota_mb": "x"}, {"prot": 1}, {}, {"enabled": False}, {"limits": 3}):
            admin.refused("PATCH", "/tenants/bob", body, 400)
        taken = admin.running.port
        assert "already gateway.listen's" in admin.refused(
            "PATCH", "/tenants/bob", {"port": taken}, 409
        )
        assert file.read_bytes() == before

    def test_a_broken_file_of_somebodys_refuses_what_must_be_read_and_no_revocation(
        self, admin: Admin
    ) -> None:
        added = add(admin)
        other = admin.running.directory / "tenants.d" / "other.yaml"
        other.touch(mode=0o600)
        other.write_text("tenants: [")
        told = admin.refused("POST", "/tenants/add", {"tenant_id": "carol"}, 409)
        assert str(other) in told
        assert in_tenants_d(admin) == ["bob.yaml", "other.yaml"]
        assert str(other) in admin.refused("GET", "/plan", None, 409)
        assert admin.get("/tenants/bob")["tenant_id"] == "bob"
        digest8 = admin.get("/tenants/bob/tokens")[0]["digest8"]
        admin.done("DELETE", f"/tenants/bob/tokens/{digest8}")
        assert served(admin, added["api_key"]) == 401

    def test_plan_check_and_reload(self, admin: Admin) -> None:
        assert admin.get("/plan")["summary"] == "tenants: 1 unchanged"
        file = admin.running.directory / "tenants.yaml"
        assert admin.done("POST", "/check")["valid"]
        checked = admin.done("POST", "/check", {"text": "tenants: {a: {prot: 1}}"})
        assert checked["errors"] == [f"{file}:1: tenants.a.prot: unknown key; did you mean port?"]
        checked = admin.done("POST", "/check", {"text": file.read_text() + "\n# and more\n"})
        assert (checked["valid"], checked["plan"]) == (True, "tenants: 1 unchanged")
        assert sorted(p.name for p in admin.running.directory.iterdir() if "check" in p.name) == []
        answer = admin.ask("POST", "/api/v2/reload", signed=False)
        assert (answer.status, json.loads(answer.body)["result"]) == (200, "unchanged")

    def test_the_listener_moves_and_the_token_changes(self, admin: Admin, free_ports: Any) -> None:
        running = admin.running
        file = running.directory / "tenants.yaml"
        config = yaml.safe_load(file.read_text())
        (port,) = free_ports(1)
        config["admin"] = {
            "listen": [f"tcp:{port}:interface=127.0.0.1"],
            "token_sha256": digest("another"),
        }
        file.write_text(json.dumps(config))
        assert admin.ask("POST", "/api/v2/reload", signed=False).status == 200
        eventually(lambda: not listens(running.admin_port), "the old listener is closed", PATIENCE)
        running.admin_port = port
        assert admin.ask("GET", "/api/v2/admin/plan").status == 401
        one = Admin(running, "another")
        assert one.get("/plan")["unchanged"] == 1
        # One that cannot be bound refuses all of it.
        config["admin"]["listen"] = [f"tcp:{port}:interface=127.0.0.1", "tcp:1:interface=192.0.2.1"]
        file.write_text(json.dumps({**config, "tenants": {}}))
        answer = one.ask("POST", "/api/v2/reload")
        assert answer.status == 409
        assert one.get("/tenants/human")["tenant_id"] == "human"


def test_two_workers(sqsuper_process: StartSqsuper) -> None:
    running: Running = sqsuper_process({"gateway": {"workers": 2}, "tenants": HUMAN})
    admin = Admin.of(running)
    added = add(admin, port="none")
    # Whichever worker is asked has gone over by now.
    assert [served(admin, added["api_key"]) for _ in range(8)] == [200] * 8
    assert served(admin, "wrong") == 401

    def known() -> bool:
        (token,) = admin.get("/tenants/bob/tokens")
        failed = admin.get("/tenants")["failed_attempts"]["gateway"]
        return token["last_used"] is not None and failed >= 1

    eventually(known, "the workers told of it", PATIENCE)
    admin.done("DELETE", f"/tenants/bob/tokens/{digest(added['api_key'])[:8]}")
    assert [served(admin, added["api_key"]) for _ in range(8)] == [401] * 8
    assert served(admin, "human") == 200
    assert running.stop() in (0, -15)
    # The last one was told at the stop.
    assert digest("human") in (running.directory / "data" / ".last-used.json").read_text()
