"""Jobs in turns, the thread beside the loop, and commits that move between the two."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sqsuper.engine.commits import SLOW_SECONDS
from sqsuper.engine.disk import Disk
from sqsuper.engine.phext import ORIGIN
from sqsuper.engine.turns import TURN_SECONDS, Gate, Turns
from sqsuper.engine.worker import Worker
from sqsuper.sockets import Loop
from tests.unit.engine.driving import Opened


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def failed(error: BaseException) -> None:
    raise AssertionError from error


def until(loop: Loop, condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        loop.turn(0.01)


class TestTurns:
    def test_pieces_of_several_jobs_alternate_and_a_turn_is_short(self, loop: Loop) -> None:
        now = 0.0
        turns = Turns(loop, failed, clock=lambda: now)
        done: list[str] = []

        def job(name: str) -> Iterator[None]:
            nonlocal now
            for _ in range(3):
                now += 0.6 * TURN_SECONDS
                done.append(name)
                yield None

        turns.run(job("a"))  # type: ignore[arg-type]
        turns.run(job("b"))  # type: ignore[arg-type]
        loop.turn(0)
        assert done == ["a", "b"]
        until(loop, lambda: len(done) == 6)
        assert done == ["a", "b"] * 3

    def test_a_gate_lets_through_who_waits_now(self, loop: Loop) -> None:
        turns = Turns(loop, failed)
        gate = Gate()
        passed = []

        def job() -> Iterator[Gate]:
            yield gate
            passed.append(1)
            yield gate
            passed.append(2)

        turns.run(job())  # type: ignore[arg-type]
        loop.turn(0)
        loop.turn(0)
        assert passed == []
        for expected in ([1], [1, 2]):
            gate.open()
            until(loop, lambda expected=expected: passed == expected)

    def test_a_job_that_fails_is_reported_and_others_go_on(self, loop: Loop) -> None:
        errors: list[BaseException] = []
        turns = Turns(loop, errors.append)
        steps: list[int] = []
        turns.add(lambda: bool(1 // 0))
        turns.add(lambda: steps.append(1) or len(steps) < 3)  # type: ignore[func-returns-value]
        until(loop, lambda: len(steps) == 3)
        assert [type(error) for error in errors] == [ZeroDivisionError]


class TestWorker:
    def test_results_come_to_the_loop_in_order(self, loop: Loop) -> None:
        worker = Worker(loop)
        assert not worker.started
        outcomes: list[object] = []
        worker.submit(lambda: outcomes.append("one"), outcomes.append)
        worker.submit(lambda: 1 // 0, lambda error: outcomes.append(type(error)))
        assert worker.busy
        until(loop, lambda: not worker.busy)
        assert outcomes == ["one", None, ZeroDivisionError]
        worker.close()
        worker.close()
        assert not worker.started

    def test_a_job_in_steps_lets_others_pass(self, loop: Loop) -> None:
        worker = Worker(loop)
        order: list[str] = []

        def steps() -> bool:
            order.append("step")
            return order.count("step") < 5

        worker.submit(steps, lambda _error: order.append("steps done"))
        worker.submit(lambda: order.append("short"), lambda _error: None)
        worker.close()
        assert order.count("step") == 5
        assert order.index("short") < 5
        assert "steps done" in order

    def test_closing_waits_for_what_is_under_way(self, loop: Loop) -> None:
        worker = Worker(loop)
        done: list[BaseException | None] = []
        release = os.pipe()
        worker.submit(lambda: os.read(release[0], 1), done.append)
        os.write(release[1], b"x")
        worker.close()
        assert done == [None]
        for fd in release:
            os.close(fd)

    def test_run_raises_what_the_job_raised(self, loop: Loop) -> None:
        worker = Worker(loop)
        job = worker.run(lambda: 1 // 0)
        gate = next(job)
        assert gate is not None
        opened: list[bool] = []
        gate.wait(lambda: opened.append(True))
        until(loop, lambda: bool(opened))
        with pytest.raises(ZeroDivisionError):
            next(job)
        worker.close()


class SlowDisk(Disk):
    """Syncs take as long as they are told."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.thread = 0
        self.threads: list[bool] = []

    def fdatasync(self, fd: int) -> None:
        import _thread

        self.threads.append(_thread.get_ident() == self.thread)
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            time.sleep(self.seconds / 10)


class TestCommits:
    def test_slow_syncs_go_to_the_thread_and_fast_ones_come_back(self, tmp_path: Path) -> None:
        import _thread

        disk = SlowDisk()
        disk.thread = _thread.get_ident()
        opened = Opened(tmp_path, disk=disk)
        number = 0

        def write() -> None:
            nonlocal number
            number += 1
            opened.apply("t", {ORIGIN: b"%d" % number})

        for _ in range(20):
            write()
        assert opened.commits.inline
        assert all(disk.threads)
        disk.seconds = 4 * SLOW_SECONDS
        while opened.commits.inline:
            write()
            assert number < 100
        del disk.threads[:]
        for _ in range(5):
            write()
        assert not any(disk.threads)
        disk.seconds = 0.0
        while not opened.commits.inline:
            write()
            assert number < 10_000
        opened.close()
        again = Opened(tmp_path)
        assert again.get("t", ORIGIN) == b"%d" % number
        again.close()

    def test_what_a_turn_wrote_is_one_sync(self, tmp_path: Path) -> None:
        disk = SlowDisk()
        opened = Opened(tmp_path, disk=disk)
        opened.apply("t", {ORIGIN: b"first"})
        del disk.threads[:]
        outcomes: list[BaseException | None] = []
        for number in range(50):
            group = opened.store.apply(opened.open("t"), {ORIGIN + number: b"x"})
            opened.commits.wait(group, outcomes.append)
        assert outcomes == []
        opened.loop.turn(0)
        assert outcomes == [None] * 50
        assert len(disk.threads) == 1
        opened.close()

    def test_what_is_durable_is_not_waited_for(self, tmp_path: Path) -> None:
        opened = Opened(tmp_path)
        opened.apply("t", {ORIGIN: b"x"})
        old = opened.open("t").group
        new = opened.store.apply(opened.open("u"), {ORIGIN: b"x"})
        outcomes: list[str] = []
        opened.commits.wait(old, lambda _error: outcomes.append("old"))
        opened.commits.wait(new, lambda _error: outcomes.append("new"))
        assert outcomes == ["old"]
        opened.close()
        assert outcomes == ["old", "new"]


def test_threads_start_no_sooner_than_needed(tmp_path: Path) -> None:
    before = sys.getswitchinterval()
    opened = Opened(tmp_path)
    assert opened.get("absent", ORIGIN) == b""
    assert sys.getswitchinterval() == before
    opened.close()
    assert os.listdir(tmp_path) == []
