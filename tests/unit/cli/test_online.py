"""What the commands on the running service ask, and how they tell the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sqsuper.cli.status import COLUMNS, row_of, summary
from tests.unit.cli.conftest import Admin, Command

TENANTS = "/api/v2/admin/tenants"
ALICE = {
    "tenant_id": "alice",
    "state": "healthy",
    "reason": "first request\x1b[2J",
    "enabled": True,
    "engine": "embedded",
    "pid": 4711,
    "port": 7001,
    "uptime_s": 3700.5,
    "restarts": 2,
    "memory_bytes": 8 * 1024 * 1024,
    "threads": 1,
    "requests": 12,
    "storage_bytes": 2048,
    "quota_bytes": 1000 * 1024 * 1024,
    "origin": {"file": "/c/tenants.yaml", "line": 7, "managed": False, "overlay": True},
}
BOB = {"tenant_id": "bob", "state": "stopped", "enabled": False, "pid": None, "port": None}


def test_status(admin: Admin, command: Command) -> None:
    admin.answers[f"GET {TENANTS}"] = (200, {"tenants": [ALICE, BOB]})
    done = command("status")
    assert done.status == 0
    head, alice, bob, last = done.out.splitlines()
    assert head.split() == list(COLUMNS)
    for cell in ("alice", "healthy", "7001", "4711", "1h 1m", "8.0 MiB", "2.0 KiB of 1000.0 MiB"):
        assert cell in alice
    assert alice.endswith("first request\\x1b[2J")
    assert bob.split()[:3] == ["bob", "disabled", "-"]
    assert last == "tenants: 2 (1 disabled, 1 healthy)"
    assert command("status", "--json").json == {"tenants": [ALICE, BOB]}


def test_status_without_tenants(admin: Admin, command: Command) -> None:
    admin.answers[f"GET {TENANTS}"] = (200, {"tenants": []})
    assert "sqsuper tenant add" in command("status").out


def test_watching_goes_on_until_the_service_is_gone(admin: Admin, command: Command) -> None:
    answers = iter([[ALICE], [ALICE, BOB]])

    class Answers(dict[str, tuple[int, Any]]):
        def get(self, key: str, default: Any = None) -> Any:
            try:
                return 200, {"tenants": next(answers)}
            except StopIteration:
                return 503, {"error": {"code": "stopping", "message": "it stops"}}

    admin.answers = Answers()
    done = command("status", "--watch", "--interval", "0.2", "--json")
    assert done.status == 7
    assert [line.count("tenant_id") for line in done.out.splitlines()] == [1, 2]


@pytest.mark.parametrize("answer", [[], {}, {"tenants": 5}, {"tenants": [5]}, None, "x"])
def test_an_answer_of_another_form(answer: Any, admin: Admin, command: Command) -> None:
    admin.answers[f"GET {TENANTS}"] = (200, answer)
    assert command("status").status == (0 if answer == [] else 7)


def test_every_cell_stands_without_its_figure() -> None:
    assert len(row_of({})) == len(COLUMNS)
    assert summary([]) == "tenants: 0"


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ([], {"tenant_id": "carol"}),
        (
            ["--quota-mb", "5", "--email", "c@example.org", "--port", "7100"],
            {"tenant_id": "carol", "quota_mb": 5, "admin_email": "c@example.org", "port": 7100},
        ),
        (["--port", "none"], {"tenant_id": "carol", "port": "none"}),
    ],
)
def test_a_tenant_is_added(arguments: list[str], body: Any, admin: Admin, command: Command) -> None:
    answer = {"tenant_id": "carol", "api_key": "pmb-v1-x", "data_dir": "/d/carol", "port": 7100}
    admin.answers[f"POST {TENANTS}/add"] = (200, answer)
    done = command("tenant", "add", "carol", *arguments)
    assert done.status == 0
    assert admin.asked[0].body == body
    assert "carol: added, port 7100, data in /d/carol" in done.out
    assert done.out.count("pmb-v1-x") == 1
    assert command("tenant", "add", "carol", "--json").json == answer


@pytest.mark.parametrize("port", ["0", "70000", "x", "-1", "1e3"])
def test_a_port_that_is_none(port: str, admin: Admin, command: Command) -> None:
    assert command("tenant", "add", "carol", f"--port={port}").status == 2
    assert admin.asked == []


def test_a_tenant_is_shown(admin: Admin, command: Command) -> None:
    admin.answers[f"GET {TENANTS}/alice/stats"] = (200, {**ALICE, "latency": {"p50": 1.5}})
    out = command("tenant", "show", "alice").out
    assert "pid: 4711\n" in out
    assert "origin:\n  file: /c/tenants.yaml\n" in out
    assert "latency:\n  p50: 1.5\n" in out
    assert "\x1b" not in out


def test_tenants_are_listed_with_their_files(admin: Admin, command: Command) -> None:
    admin.answers[f"GET {TENANTS}"] = (200, {"tenants": [ALICE, BOB]})
    _, alice, bob = command("tenant", "list").out.splitlines()
    assert alice.split()[:4] == ["alice", "healthy", "embedded", "7001"]
    assert alice.endswith("/c/tenants.yaml:7 (changed by the overlay)")
    assert bob.split() == ["bob", "disabled", "-", "-", "-"]


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        (["start"], "start"),
        (["stop"], "stop"),
        (["restart"], "restart"),
        (["reset"], "reset"),
        (["tenant", "enable"], "enable"),
        (["tenant", "disable"], "disable"),
    ],
)
def test_a_tenant_is_acted_on(
    arguments: list[str], action: str, admin: Admin, command: Command
) -> None:
    admin.answers[f"POST {TENANTS}/alice/{action}"] = (
        200,
        {"tenant_id": "alice", "state": "healthy"},
    )
    assert command(*arguments, "alice").out == "alice: healthy\n"
    assert command(*arguments, "alice", "--json").json["state"] == "healthy"
    assert command(*arguments, "nobody").status == 5


def test_all_are_restarted(admin: Admin, command: Command) -> None:
    rolled = {"restarted": ["alice"], "skipped": ["bob"], "failed": [], "left": []}
    admin.answers["POST /api/v2/admin/restart"] = (200, rolled)
    done = command("restart", "--all", "--max-unavailable", "2")
    assert (done.status, done.out) == (0, "restarted: alice\nskipped: bob\n")
    assert command("restart", "--all", "--json").json == rolled
    admin.answers["POST /api/v2/admin/restart"] = (200, {**rolled, "failed": ["carol"]})
    assert command("restart", "--all").status == 1


@pytest.mark.parametrize("arguments", [[], ["alice", "--all"], ["--all", "--max-unavailable", "0"]])
def test_a_restart_is_of_one_or_of_all(arguments: list[str], command: Command) -> None:
    assert command("restart", *arguments).status == 2


def test_a_tenant_is_removed_once_that_is_confirmed(
    admin: Admin, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.answers[f"DELETE {TENANTS}/alice"] = (
        200,
        {"tenant_id": "alice", "status": "removed", "archive": "/d/.archive/alice"},
    )
    monkeypatch.setattr("sys.stdin", __import__("io").StringIO("n\n"))
    assert command("tenant", "remove", "alice").status == 130
    assert admin.asked == []
    done = command("tenant", "remove", "alice", "--yes")
    assert done.status == 0
    assert "/d/.archive/alice" in done.out


TOKENS = [
    {"label": "laptop", "digest8": "0123abcd", "scope": "rw", "state": "valid", "age": 90_000},
    {"label": "old", "digest8": "11112222", "scope": "ro", "state": "revoked", "age": 5},
]


def test_tokens_are_listed(admin: Admin, command: Command) -> None:
    admin.answers[f"GET {TENANTS}/alice/tokens"] = (200, {"tokens": TOKENS})
    head, laptop, old = command("token", "list", "alice").out.splitlines()
    assert head.split()[:5] == ["LABEL", "DIGEST8", "SCOPE", "STATE", "AGE"]
    assert laptop.split()[:6] == ["laptop", "0123abcd", "rw", "valid", "1d", "1h"]
    assert old.split()[:4] == ["old", "11112222", "ro", "revoked"]
    admin.answers[f"GET {TENANTS}/alice/tokens"] = (200, TOKENS)
    assert command("token", "list", "alice", "--json").json["tokens"] == TOKENS


def test_a_new_token_alone_is_on_standard_output(admin: Admin, command: Command) -> None:
    admin.answers[f"POST {TENANTS}/alice/tokens"] = (200, {"token": "pmb-v1-new", "label": "l"})
    done = command("token", "new", "alice", "--label", "l", "--scope", "ro", "--expires", "E")
    assert done.out == "pmb-v1-new\n"
    assert "pmb-v1-new" not in done.err
    assert admin.asked[0].body == {"label": "l", "scope": "ro", "expires": "E"}
    assert command("token", "new", "alice", "--json").json["token"] == "pmb-v1-new"
    assert command("token", "new", "alice", "--scope", "x").status == 2


def test_a_token_is_revoked(admin: Admin, command: Command) -> None:
    admin.answers[f"DELETE {TENANTS}/alice/tokens/my%20laptop"] = (200, {"revoked": "0123abcd"})
    assert command("token", "revoke", "alice", "my laptop").out == "alice: my laptop is revoked\n"


@pytest.mark.parametrize("named", [["0123abcd"], []])
def test_a_token_is_rotated_by_name_or_as_the_only_one(
    named: list[str], admin: Admin, command: Command
) -> None:
    admin.answers[f"GET {TENANTS}/alice/tokens"] = (200, TOKENS)
    admin.answers[f"POST {TENANTS}/alice/tokens/0123abcd/rotate"] = (201, {"token": "new"})
    done = command("token", "rotate", "alice", *named, "--overlap", "1h")
    assert done.out == "new\n"
    assert admin.asked[-1].body == {"overlap": "1h"}


def test_no_one_token_to_rotate(admin: Admin, command: Command) -> None:
    two = [{"label": "l", "digest8": f"0000000{n}", "state": "valid"} for n in range(2)]
    admin.answers[f"GET {TENANTS}/alice/tokens"] = (200, two)
    done = command("token", "rotate", "alice")
    assert done.status == 5
    assert "alice has 2 tokens" in done.err
    assert all(asked.method == "GET" for asked in admin.asked)


def test_why(admin: Admin, command: Command) -> None:
    admin.answers[f"GET {TENANTS}/alice/why"] = (
        200,
        {"state": "failed", "because": ["crashed\x1b[1m", {"at": "10:00", "what": "exit 1"}]},
    )
    out = command("why", "alice").out
    assert out == "state: failed\nbecause:\n  - crashed\\x1b[1m\n  - at: 10:00, what: exit 1\n"


def test_logs(admin: Admin, command: Command) -> None:
    lines = [{"at": 1.0, "stream": "out", "text": "one"}, {"at": 2.0, "text": "\x1b[31mtwo"}]
    admin.answers[f"GET {TENANTS}/alice/logs?lines=100"] = (200, {"lines": lines})
    ndjson = b'{"at": 3, "stream": "err", "text": "three"}\n'
    admin.answers[f"GET {TENANTS}/alice/logs?lines=5&follow=1"] = (200, ndjson)
    assert command("logs", "alice").out == "one\n\\x1b[31mtwo\n"
    assert command("logs", "alice", "--times").out.startswith("1970-01-01 00:00:01Z one\n")
    assert command("logs", "-f", "-n", "5", "alice").out == "three\n"
    assert command("logs", "-f", "-n", "5", "alice", "--json").json["text"] == "three"
    assert [json.loads(one) for one in command("logs", "alice", "--json").out.splitlines()] == lines
    assert command("logs", "bob").status == 5
    admin.answers[f"GET {TENANTS}/alice/logs?lines=5&follow=1"] = (200, b"three\n")
    assert command("logs", "-f", "-n", "5", "alice").status == 7


def test_plan_and_reload(admin: Admin, command: Command) -> None:
    plan = {"summary": "tenants: 1 added", "lines": ["a: added", "b: \x1b[2J"], "tenants": []}
    admin.answers["GET /api/v2/admin/plan"] = (200, plan)
    assert command("plan").out == "a: added\nb: \\x1b[2J\ntenants: 1 added\n"
    assert command("plan", "--json").json == plan
    admin.answers["POST /api/v2/reload"] = (200, {"result": "done", "text": "1 adjusted"})
    assert command("reload").out == "result: done\ntext: 1 adjusted\n"
    admin.answers["POST /api/v2/reload"] = (
        409,
        {
            "error": {
                "code": "refused",
                "message": "t.yaml:1: nope",
                "errors": ["t.yaml:1: nope", "b"],
            }
        },
    )
    done = command("reload")
    assert done.status == 6
    assert done.err == "sqsuper: t.yaml:1: nope\nsqsuper: b\n"


def test_times_are_told_as_such(admin: Admin, command: Command) -> None:
    admin.answers[f"GET {TENANTS}/alice/why"] = (200, {"since": 0, "transitions": [{"at": 1.5}]})
    out = command("why", "alice").out
    assert out == ("since: 1970-01-01 00:00:00Z\ntransitions:\n  - at: 1970-01-01 00:00:01Z\n")


def test_page(admin: Admin, command: Command) -> None:
    made = {"path": "/sign-in/SECRET", "expires_in": 600.0}
    admin.answers["POST /api/v2/admin/session/link"] = (201, made)
    done = command("page")
    assert done.status == 0
    assert done.out == f"http://127.0.0.1:{admin.port}/sign-in/SECRET\n"
    assert "once" in done.err
    told = command("page", "--json").json
    assert told == {"url": done.out.strip(), "expires_in": 600.0}
    admin.answers["POST /api/v2/admin/session/link"] = (201, {})
    assert command("page").status == 7


def test_a_page_that_no_browser_opens(here: Path, command: Command) -> None:
    (here / "conf").mkdir()
    (here / "conf" / "tenants.yaml").write_text('admin: {listen: ["unix:a.sock"], token: "t"}\n')
    done = command("page")
    assert done.status == 6
    assert "tcp:" in done.err
