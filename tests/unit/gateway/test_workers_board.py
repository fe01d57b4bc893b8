from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqsuper.gateway import board as module
from sqsuper.gateway.board import Board, SharedBucket, SharedConnections, SharedSpoolRoom
from sqsuper.gateway.rate import TokenBucket
from sqsuper.gateway.spool import TOTAL_LIMIT, SpoolError


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    one = Board.create(tmp_path, 3)
    yield one
    one.close()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [1000.0]
    monkeypatch.setattr("sqsuper.gateway.board.time.monotonic", lambda: time[0])
    return time


class TestConnections:
    def test_those_of_all_workers_count(self, board: Board) -> None:
        first, second = (SharedConnections(4, 3, board, number) for number in (0, 1))
        assert first.enter("10.0.0.1")
        assert second.enter("10.0.0.1")
        assert first.enter("10.0.0.1")
        assert not second.enter("10.0.0.1")
        assert second.enter("10.0.0.2")
        assert not first.enter("10.0.0.3")
        assert not first.enter("")
        second.leave("10.0.0.2")
        assert first.enter("")
        first.leave("")
        first.leave("10.0.0.1")
        assert second.enter("10.0.0.1")

    def test_peers_on_a_unix_socket_count_in_all_alone(self, board: Board) -> None:
        first, second = (SharedConnections(4, 1, board, number) for number in (0, 1))
        assert [one.enter("") for one in (first, second, first, second, first)] == [
            True,
            True,
            True,
            True,
            False,
        ]

    def test_a_worker_that_ended_leaves_none(self, board: Board) -> None:
        first, second = (SharedConnections(2, 2, board, number) for number in (0, 1))
        assert first.enter("10.0.0.1")
        assert first.enter("10.0.0.1")
        assert not second.enter("10.0.0.1")
        board.clear(0)
        assert second.enter("10.0.0.1")
        assert second.enter("10.0.0.1")
        assert not SharedConnections(2, 2, board, 0).enter("10.0.0.1")

    def test_another_process_sees_them(self, board: Board) -> None:
        assert SharedConnections(9, 9, board, 1).enter("10.0.0.1")
        text = (
            "import sys; from sqsuper.gateway.board import *;"
            f"board = Board({board.fd}, 3);"
            "sys.exit(SharedConnections(1, 1, board, 0).enter('10.0.0.2'))"
        )
        os.set_inheritable(board.fd, True)
        done = subprocess.run(
            [sys.executable, "-c", text], pass_fds=[board.fd], timeout=30, check=False
        )
        assert done.returncode == 0


class TestSpoolRoom:
    def test_what_all_use_counts(self, board: Board, tmp_path: Path) -> None:
        first, second = (SharedSpoolRoom(tmp_path, board, number) for number in (0, 1))
        first.take(TOTAL_LIMIT - 10)
        second.take(4)
        with pytest.raises(SpoolError):
            second.take(7)
        second.take(6)
        with pytest.raises(SpoolError):
            first.take(1)
        assert (first.used, second.used) == (TOTAL_LIMIT - 10, 10)
        first.used -= 5
        second.take(5)
        board.clear(0)
        second.take(TOTAL_LIMIT - 15)


class TestBucket:
    def test_two_workers_share_one(self, board: Board, now: list[float]) -> None:
        first, second = (SharedBucket(2.0, 3, board, 5) for _ in range(2))
        assert [one.take(0.0) for one in (first, second, first)] == [None] * 3
        assert second.take(0.0) == 1
        now[0] += 0.5
        assert second.take(0.0) is None
        assert first.take(0.0) == 1

    def test_tenants_have_buckets_of_their_own(self, board: Board, now: list[float]) -> None:
        assert SharedBucket(1.0, 1, board, 0).take(0.0) is None
        assert SharedBucket(1.0, 1, board, 0).take(0.0) == 1
        assert SharedBucket(1.0, 1, board, 1).take(0.0) is None
        assert SharedBucket(1.0, 1, board, module.MAX_RATES - 1).take(0.0) is None

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
    @given(
        per_second=st.floats(0.1, 500),
        burst=st.integers(1, 40),
        steps=st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0, 60.0]), max_size=60),
    )
    def test_it_is_as_a_bucket_of_ones_own(
        self,
        board: Board,
        now: list[float],
        per_second: float,
        burst: int,
        steps: list[float],
    ) -> None:
        board.memory[board.bucket_at(7) : board.bucket_at(8)] = bytes(16)
        shared = SharedBucket(per_second, burst, board, 7)
        own = TokenBucket(per_second, burst, now[0])
        for step in steps:
            now[0] += step
            mine, others = own.take(now[0]), shared.take(0.0)
            assert (mine is None) == (others is None)
            # Rounding may fall to either side of a whole second.
            assert mine is None or others is None or abs(mine - others) <= 1

    @settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        max_examples=20,
        deadline=None,
    )
    @given(
        per_second=st.floats(20, 500),
        burst=st.integers(1, 40),
        workers=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    )
    def test_in_sum_it_holds_however_requests_are_spread(
        self, board: Board, now: list[float], per_second: float, burst: int, workers: list[int]
    ) -> None:
        board.memory[board.bucket_at(9) : board.bucket_at(10)] = bytes(16)
        buckets = [SharedBucket(per_second, burst, board, 9) for _ in range(3)]
        began, served = now[0], 0
        while now[0] < began + 40 / per_second:
            # Far more than the rate allows, at any of them.
            served += sum(buckets[worker].take(0.0) is None for worker in workers)
            now[0] += 0.05 / per_second
        assert 0.9 * (burst + 40) <= served <= 1.1 * (burst + 40)

    def test_who_holds_the_lock_and_does_not_run_stops_nobody(self, board: Board) -> None:
        text = (
            "import fcntl, sys, time;"
            f"fcntl.lockf({board.fd}, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
        )
        os.set_inheritable(board.fd, True)
        with subprocess.Popen(
            [sys.executable, "-c", text],
            pass_fds=[board.fd],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(OSError, match=r"unavailable|denied"):
                fcntl.lockf(board.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert SharedBucket(1.0, 1, board, 0).take(0.0) is None
            holder.communicate()
