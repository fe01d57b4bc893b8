"""Who belongs to an instance, shown on real processes."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import attrs
import pytest

from sqsuper.supervisor import groups
from sqsuper.supervisor.groups import MARKER, Group
from tests.running import eventually

TEXT = ""

# Prints the pids it is asked for and lives on; the leader of its own session.
LEADER = """
import os, signal, subprocess, sys, time
script = sys.argv[1]
exec(script)
sys.stdout.flush()
time.sleep(60)
"""
FORK = "p = subprocess.Popen(['sleep', '60']); print(p.pid)"
BARE_FORK = "p = subprocess.Popen(['sleep', '60'], env={}); print(p.pid)"
AWAY_FORK = "p = subprocess.Popen(['sleep', '60'], start_new_session=True); print(p.pid)"


class Leader(subprocess.Popen[bytes]):
    """A process that told the pids of those it started."""

    pids: list[int]


Start = Callable[..., Leader]


@pytest.fixture(autouse=True)
def _own_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the test before has killed may still be on its way out.
    monkeypatch.setattr(sys.modules[__name__], "TEXT", secrets.token_hex(16))


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a leader; at the end everything in its session and with its marker is killed."""
    leaders: list[Leader] = []
    grandchildren: list[int] = []

    def begin(script: str = "", *, marked: bool = True) -> Leader:
        environment = dict(os.environ)
        if marked:
            environment[MARKER] = TEXT
        leader = Leader(
            [sys.executable, "-S", "-c", LEADER, script + "\nprint('.')"],
            env=environment,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        leaders.append(leader)
        assert leader.stdout is not None
        leader.pids = []
        while (line := leader.stdout.readline().strip()) != b".":
            leader.pids.append(int(line))
            grandchildren.append(int(line))
        return leader

    yield begin
    for leader in leaders:
        leader.kill()
        leader.wait()
        assert leader.stdout is not None
        leader.stdout.close()
    for pid in grandchildren:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def group_of(leader: Leader, **changes: str) -> Group:
    began = groups.start_time(leader.pid)
    assert began is not None
    group = Group("alice", leader.pid, began, groups.boot_id(), groups.now(), TEXT)
    return attrs.evolve(group, **changes)  # type: ignore[arg-type]


def kill_leader(leader: Leader) -> None:
    leader.kill()
    leader.wait()


def member_pids(group: Group) -> set[int]:
    return set(groups.members([group])[group])


def test_the_moment_is_of_the_clock_of_start_times(start: Start) -> None:
    before = groups.now()
    leader = start()
    began = groups.start_time(leader.pid)
    assert began is not None
    assert before <= began <= groups.now()
    kill_leader(leader)
    assert groups.start_time(leader.pid) is None


def test_leader_group_and_session_belong(start: Start) -> None:
    apart = "os.posix_spawnp('sleep', ['sleep', '60'], {}, setpgroup=0)"
    script = f"{FORK}\n{BARE_FORK}\nprint({apart})"
    leader = start(script, marked=False)
    assert member_pids(group_of(leader)) == {leader.pid, *leader.pids}


def test_a_marker_belongs_wherever_it_went(start: Start) -> None:
    leader = start(AWAY_FORK)
    kill_leader(leader)
    assert member_pids(Group("alice", 2**22 + 1, "", "", "", TEXT)) == set(leader.pids)


def test_what_left_without_a_marker_is_a_stranger(start: Start) -> None:
    leader = start(AWAY_FORK, marked=False)
    assert member_pids(group_of(leader)) == {leader.pid}


def test_another_start_time_is_a_stranger_with_its_session(start: Start) -> None:
    leader = start(FORK, marked=False)
    assert member_pids(group_of(leader, start="0" * 20, alive_at="0" * 20)) == set()
    later = group_of(leader, start="9" * 20, alive_at="9" * 20)
    assert member_pids(later) == set()


def test_orphans_that_began_in_the_leaders_life_belong(start: Start) -> None:
    leader = start(BARE_FORK, marked=False)
    group = group_of(leader)
    kill_leader(leader)
    assert member_pids(group) == set(leader.pids)


def test_orphans_of_a_later_leader_of_the_same_pid_are_strangers(start: Start) -> None:
    leader = start(BARE_FORK, marked=False)
    group = group_of(leader, start="0" * 20, alive_at="0" * 19 + "1")
    kill_leader(leader)
    assert member_pids(group) == set()


def test_a_zombie_does_not_count(start: Start) -> None:
    leader = start()
    group = group_of(leader)
    leader.kill()
    os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
    assert member_pids(group) == set()


def test_nothing_is_sent_to_a_pid_that_became_anothers(start: Start) -> None:
    leader = start(marked=False)
    groups.send(group_of(leader, start="0" * 20), leader.pid, signal.SIGKILL)
    groups.send(group_of(leader), leader.pid, signal.SIGTERM)
    assert leader.wait() == -signal.SIGTERM


@pytest.mark.parametrize("stop", [False, True])
def test_all_are_ended(start: Start, stop: bool) -> None:
    script = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FORK}\n{AWAY_FORK}"
    leader = start(script)
    group = group_of(leader)
    if stop:
        os.kill(leader.pid, signal.SIGSTOP)
    assert groups.end_now([group], 0.1, 5.0) == {}
    assert leader.wait() == -signal.SIGKILL
    eventually(lambda: all(groups.start_time(pid) is None for pid in leader.pids))


def test_no_group_needs_no_look() -> None:
    assert groups.members([]) == {}
    assert groups.end_now([], 1.0, 1.0) == {}
