"""Processes measured: the kernel's files against psutil, of a process that we know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sqsuper.config.model import MIB
from sqsuper.supervisor import procfs, sampling
from sqsuper.supervisor.figures import Detail, Sampler
from sqsuper.supervisor.sampling import PsutilSampler, Sessions
from tests.running import eventually

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")

SAMPLERS = [
    pytest.param(procfs.ProcSampler(), id="proc", marks=linux),
    pytest.param(PsutilSampler(), id="psutil"),
]

CHILD = """
import os, sys, threading, time
kept = bytearray(os.urandom(1 << 20)) * 64
for _ in range(3):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
begun = time.process_time()
while time.process_time() - begun < 0.2:
    pass
opened = [os.dup(0) for _ in range(20)]
if sys.platform == "linux":
    open("/proc/self/comm", "w").write(") R 1 (x) 9")  # a name may hold anything
print("there", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def child() -> Iterator[int]:
    """A process with 64 MiB of its own, 4 threads, 0.2 s of CPU time and over 20 descriptors."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    yield process.pid
    process.communicate()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_known_of_it(sampler: Sampler, child: int) -> None:
    figures = sampler.figures(child)
    assert figures is not None
    assert figures.threads == 4
    assert 0.15 <= figures.cpu < 10
    assert 64 * MIB < figures.resident < 200 * MIB
    assert 0 <= figures.shared < figures.resident
    gauge = sampler.gauge(child)
    for _ in range(2):
        again = gauge.figures()
        assert again is not None
        assert again.threads == 4
        assert figures.cpu <= again.cpu < 10
        assert 64 * MIB < again.resident < 200 * MIB
    gauge.close()
    gauge.close()
    detail = sampler.detail(child)
    assert detail is not None
    assert 64 * MIB < detail.unique <= detail.memory <= figures.resident + 2 * MIB
    assert detail.descriptors is not None
    assert detail.descriptors >= 23
    assert detail.read is not None
    assert detail.written is not None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_is_known_of_what_has_ended(sampler: Sampler) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    gauge = sampler.gauge(process.pid)
    gauge.figures()
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        zombie = sampler.detail(process.pid)
        assert zombie is None or zombie.memory == 0
    finally:
        process.wait()
    for _ in range(2):
        assert gauge.figures() is None
    gauge.close()
    assert sampler.figures(process.pid) is None
    assert sampler.detail(process.pid) is None


def test_the_cheapest_is_taken() -> None:
    kind = procfs.ProcSampler if sys.platform.startswith("linux") else PsutilSampler
    assert isinstance(sampling.sampler(), kind)


def test_sums() -> None:
    some = Detail(1, 2, 3, None, 5).plus(Detail(10, 20, None, None, 50))
    assert some == Detail(11, 22, 3, None, 55)


def test_who_is_in_a_session(child: int) -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    assert sessions.members(child) == []
    inside = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, subprocess, sys; os.setsid();"
            "kid = subprocess.Popen([sys.executable, '-c', 'input()']); print(kid.pid, flush=True);"
            "kid.wait()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert inside.stdout is not None
        kid = int(inside.stdout.readline())
        assert sessions.members(inside.pid) == []  # from the table that is there already
        now[0] += Sessions.FRESH
        eventually(lambda: sessions.members(inside.pid) == [kid])
        assert sessions.members(child) == []
    finally:
        inside.communicate(b"\n")
