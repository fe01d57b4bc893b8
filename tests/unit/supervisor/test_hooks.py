"""on_event: whom the operator's program is run for, and that it can do no harm."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.supervisor import hooks as module
from sqsuper.supervisor.events import Event, Kind
from sqsuper.supervisor.hook_rules import (
    AT_A_TIME,
    MAX_QUEUE,
    QUIET_SECONDS,
    TOLD,
    Rules,
)
from sqsuper.supervisor.hooks import Hooks, environment, program
from tests.unit.supervisor.support import alive, eventually, in_reactor, logged


def event(kind: Kind = Kind.FAILED, tenant: str | None = "alice", cause: str = "crash") -> Event:
    return Event(12.5, kind, tenant, cause, "it failed", {"tries": 5})


# The rules


def test_the_kinds() -> None:
    assert {kind.value for kind in TOLD} == {
        "unhealthy",
        "restarted",
        "failed",
        "limit",
        "quota",
        "fleet",
        "backup",
    }
    rules = Rules()
    assert not rules.take(event(Kind.RELOAD), 0.0)
    assert rules.next() is None


def test_not_repeated_within_five_minutes() -> None:
    rules = Rules()
    assert rules.take(event(), 0.0)
    assert not rules.take(event(), QUIET_SECONDS - 1)
    assert rules.take(event(cause="probe"), 1.0)
    assert rules.take(event(tenant="bob"), 1.0)
    assert rules.take(event(Kind.RESTARTED), 1.0)
    # From the one that was told, not from the repetition.
    assert rules.take(event(), QUIET_SECONDS)
    assert rules.dropped == 0


def test_few_at_a_time_and_few_wait() -> None:
    rules = Rules()
    taken = [rules.take(event(cause=str(n)), 0.0) for n in range(MAX_QUEUE + 3)]
    assert taken == [True] * MAX_QUEUE + [False] * 3
    assert rules.dropped == 3
    first = [rules.next() for _ in range(AT_A_TIME + 1)]
    assert [None if one is None else one.cause for one in first] == ["0", "1", "2", "3", None]
    rules.done()
    following = rules.next()
    assert following is not None
    assert following.cause == "4"
    # One that was lost is no repetition.
    assert rules.take(event(cause=str(MAX_QUEUE)), 1.0)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 200)), max_size=60
    )
)
def test_between_two_of_a_kind_there_are_always_five_minutes(
    steps: list[tuple[str, str, int]],
) -> None:
    rules, now = Rules(), 0
    told: dict[tuple[str, str], int] = {}
    for tenant, cause, seconds in steps:
        now += seconds
        before = told.get((tenant, cause))
        due = before is None or now - before >= QUIET_SECONDS
        assert rules.take(event(tenant=tenant, cause=cause), float(now)) == due
        if due:
            told[tenant, cause] = now
        while rules.next() is not None:
            rules.done()


def test_the_environment_is_small() -> None:
    given = {"PATH": "/bin", "HOME": "/root", "TZ": "UTC", "NOTIFY_SOCKET": "/x", "SECRET": "y"}
    assert environment(given) == {"PATH": "/bin", "HOME": "/root", "TZ": "UTC"}
    assert environment({}) == {"PATH": os.defpath}


def test_where_the_program_is() -> None:
    assert program(["notify", "a/b"], Path("/etc/x")) == ["notify", "a/b"]
    assert program(["./notify", "a"], Path("/etc/x")) == ["/etc/x/notify", "a"]
    assert program(["/bin/notify"], Path("/etc/x")) == ["/bin/notify"]


# The program

Made = Callable[..., Hooks]


@pytest.fixture
def hooks(tmp_path: Path) -> Iterator[Made]:
    from twisted.internet import reactor

    made: list[Hooks] = []

    def make(script: str) -> Hooks:
        argv = [sys.executable, "-I", "-S", "-c", script, str(tmp_path)]
        made.append(Hooks(argv, tmp_path, reactor=reactor))
        made[-1].open()
        return made[-1]

    yield make
    assert all(not one._running for one in made), "a test must wait for what it runs"


async def gone(hooks: Hooks) -> None:
    await eventually(lambda: not hooks._running, "the program ended")


TELL = """
import json, os, sys
facts = {"event": json.load(sys.stdin), "env": dict(os.environ), "cwd": os.getcwd(),
         "session": os.getsid(0) == os.getpid(), "fds": sorted(os.listdir("/proc/self/fd"))}
part = sys.argv[1] + "/part"
with open(part, "w") as file:
    json.dump(facts, file)
os.rename(part, sys.argv[1] + "/told")
"""


@in_reactor
async def test_it_gets_the_event_and_nothing_else(
    hooks: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    with logged() as lines:
        one = hooks(TELL)
        one.take(event())
        await gone(one)
    facts: dict[str, Any] = json.loads((tmp_path / "told").read_text())
    assert facts["event"] == {
        "at": 12.5,
        "kind": "failed",
        "tenant": "alice",
        "cause": "crash",
        "text": "it failed",
        "facts": {"tries": 5},
    }
    assert "SECRET_OF_OURS" not in facts["env"]
    assert set(facts["env"]) <= {"PATH", "HOME", "LANG", "TZ", "LC_CTYPE"}
    assert (facts["cwd"], facts["session"]) == (os.path.realpath(tmp_path), True)
    assert facts["fds"][:3] == ["0", "1", "2"]
    assert len(facts["fds"]) == 4, "and that of the directory it looks at"
    assert lines == []


@in_reactor
async def test_a_failure_is_logged_with_the_little_it_said(hooks: Made) -> None:
    with logged() as lines:
        one = hooks("import sys; print('a\\x1b' + 'x' * 100000); sys.exit(3)")
        one.take(event())
        await gone(one)
    (line,) = lines
    assert line.startswith(r"on_event, for failed of alice: exit status 3: a\x1bxxx")
    assert len(line) < 2200


@in_reactor
async def test_one_that_takes_too_long_is_killed_with_its_group(
    hooks: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SECONDS", 1.0)
    with logged() as lines:
        one = hooks(
            "import os, sys, time\n"
            "child = os.fork()\n"
            "if child: open(sys.argv[1] + '/child', 'w').write(f'{child} ')\n"
            "time.sleep(60)"
        )
        one.take(event())
        child = await eventually(
            lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text()
        )
        await gone(one)
    assert not alive(int(child))
    assert "killed, it took over 1 s" in lines[0]


@in_reactor
async def test_what_left_its_group_holds_up_nothing(
    hooks: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OUTPUT_PATIENCE", 0.2)
    one = hooks(
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    open(sys.argv[1] + '/child', 'w').write(f'{os.getpid()} ')\n"
        "    time.sleep(60)\n"
        "while not os.path.exists(sys.argv[1] + '/child'): time.sleep(0.01)"
    )
    one.take(event())
    child = await eventually(
        lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text()
    )
    await gone(one)
    assert alive(int(child)), "that is its own business"
    os.kill(int(child), 9)


@in_reactor
async def test_one_that_is_not_there(hooks: Made, tmp_path: Path) -> None:
    one = hooks("")
    one.apply(["./none", "x"], tmp_path)
    with logged() as lines:
        one.take(event())
        await gone(one)
    assert lines == [
        f"on_event, for failed of alice: exit status 127: {tmp_path}/none:"
        " No such file or directory"
    ]
    one.apply(["a\0b"], tmp_path)
    with logged() as lines:
        one.take(event(tenant="bob"))
        await gone(one)
    # Twisted 22.4 notices that only in the child.
    assert "for failed of bob: cannot be started: " in lines[0] or "exit status 1" in lines[0]
    one.apply(None, tmp_path)
    one.take(event(tenant="carol"))
    assert not one._running


@in_reactor
async def test_few_run_at_once_and_all_have_their_turn(hooks: Made, tmp_path: Path) -> None:
    one = hooks("import os, sys; open(f'{sys.argv[1]}/{os.getpid()}.run', 'w')")
    for number in range(10):
        one.take(event(tenant=str(number)))
        assert len(one._running) <= AT_A_TIME
    await gone(one)
    assert len(list(tmp_path.glob("*.run"))) == 10


@in_reactor
async def test_what_came_before_the_start_is_told_after_it(tmp_path: Path) -> None:
    from twisted.internet import reactor

    argv = [sys.executable, "-I", "-S", "-c", TELL, str(tmp_path)]
    one = Hooks(argv, tmp_path, reactor=reactor)
    one.take(event())
    assert not one._running
    one.open()
    await gone(one)
    assert (tmp_path / "told").exists()


@in_reactor
async def test_the_end_of_the_service_is_its_end(hooks: Made) -> None:
    one = hooks("import time; time.sleep(60)")
    for number in range(10):
        one.take(event(tenant=str(number)))
    pids = [run._pid for run in one._running]
    assert len(pids) == AT_A_TIME
    with logged() as lines:
        await one.close()
    assert [pid for pid in pids if pid is not None and alive(pid)] == []
    assert lines == []
    one.take(event(tenant="late"))
    assert not one._running
    await one.close()
