"""Which zombies are reaped, and that no others are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from twisted.internet.task import Clock

from sqsuper.supervisor import reaper
from sqsuper.supervisor.reaper import SWEEP_SECONDS, Reaper, strays
from tests.running import eventually

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


@pytest.fixture
def zombie() -> int:
    """A zombie of a session of its own."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def is_there(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_a_stray_is_reaped_within_a_sweep(zombie: int) -> None:
    clock = Clock()
    one = Reaper(clock, lambda: False, registered=())
    one.start()
    one.start()
    assert zombie in strays((), os.getsid(0))
    clock.advance(SWEEP_SECONDS)
    assert not is_there(zombie)
    one.stop()
    assert clock.getDelayedCalls() == []


def test_what_is_registered_or_may_be_soon_is_kept(zombie: int) -> None:
    outstanding = True
    registered = {zombie}
    one = Reaper(Clock(), lambda: outstanding, registered=registered)
    one.sweep()
    assert is_there(zombie)
    outstanding = False
    one.sweep()
    assert is_there(zombie)
    registered.clear()
    outstanding = True
    one.sweep()
    assert is_there(zombie)
    outstanding = False
    one.sweep()
    assert not is_there(zombie)


def test_the_living_and_children_of_our_session_are_kept(zombie: int) -> None:
    mine = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        eventually(lambda: os.waitid(os.P_PID, mine.pid, os.WEXITED | os.WNOWAIT))
        Reaper(Clock(), lambda: False, registered=()).sweep()
        assert not is_there(zombie)
        assert mine.wait() == 7
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_the_mark_can_be_set_and_taken_back() -> None:
    before = reaper.subreaper()
    try:
        assert reaper.set_subreaper(True)
        assert reaper.subreaper()
        assert reaper.set_subreaper(False)
        assert not reaper.subreaper()
    finally:
        reaper.set_subreaper(before)
