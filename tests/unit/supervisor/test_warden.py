"""The process that ends what a killed supervisor leaves: kept running, told, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import attrs
import pytest
from twisted.internet import reactor

from sqsuper.supervisor import groups
from sqsuper.supervisor.groups import Group
from sqsuper.supervisor.warden import Warden
from tests.unit.supervisor.support import alive, children, eventually, in_reactor

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")


def group(process: subprocess.Popen[bytes], marker: str) -> Group:
    start = groups.start_time(process.pid)
    assert start is not None
    return Group("alice", process.pid, start, groups.boot_id(), groups.now(), marker)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], start_new_session=True)


@in_reactor
async def test_it_is_started_when_needed_and_ends_nothing_at_a_stop() -> None:
    before = children()
    warden = Warden(reactor)
    assert warden.pid is None
    await warden.stop()
    with sleeper() as one:
        try:
            warden = Warden(reactor)
            warden.watch(group(one, "a" * 32))
            assert warden.pid in children() - before
            await warden.stop()
            assert warden.pid is None
            assert one.poll() is None
        finally:
            one.kill()


@in_reactor
async def test_it_ends_what_it_still_watches_when_its_supervisor_goes() -> None:
    warden = Warden(reactor)
    watched, forgotten = sleeper(), sleeper()
    try:
        for index, one in enumerate((watched, forgotten)):
            warden.watch(group(one, f"{index}" * 32))
        warden.watch(attrs.evolve(group(watched, "0" * 32), alive_at=groups.now()))
        warden.forget(group(forgotten, "1" * 32))
        process = warden._process
        assert process is not None
        assert process.transport is not None
        process.transport.closeStdin()  # as the kernel does
        await eventually(lambda: watched.poll() == -signal.SIGKILL)
        assert forgotten.poll() is None
    finally:
        await warden.stop()
        for one in (watched, forgotten):
            one.kill()
            one.wait()


@in_reactor
async def test_one_that_was_killed_is_replaced_and_told_all() -> None:
    warden = Warden(reactor)
    with sleeper() as one:
        try:
            warden.watch(group(one, "a" * 32))
            first = warden.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await eventually(lambda: warden.pid not in {None, first}, "another", 10)
            process = warden._process
            assert process is not None
            assert process.transport is not None
            process.transport.closeStdin()
            await eventually(lambda: one.poll() is not None)
        finally:
            await warden.stop()
            one.kill()


@in_reactor
async def test_one_that_hangs_does_not_hold_up_a_stop() -> None:
    warden = Warden(reactor)
    with sleeper() as one:
        try:
            warden.watch(group(one, "a" * 32))
            pid = warden.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            await warden.stop()
            assert not alive(pid)
        finally:
            one.kill()
