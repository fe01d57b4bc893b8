"""The board: what is said of the tenants, and what changed of it."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock

from sqsuper.admin.page import board as boards
from sqsuper.admin.page.board import Board
from sqsuper.backup.service import Standing
from sqsuper.supervisor.events import Kind
from sqsuper.supervisor.instance import State
from sqsuper.supervisor.samples import History
from tests.unit.admin.page_support import Fake, counted


def board_of(fake: Fake, clock: Clock | None = None) -> Board:
    one = Board(fake.control, clock or Clock(), lambda: 5)
    renew(one)
    return one


def renew(board: Board) -> None:
    for _ in board.renew():
        pass


def since(board: Board, round_: int) -> dict[str, Any]:
    message = board.since(round_)
    assert message is not None
    assert b"\n" not in message
    told: dict[str, Any] = json.loads(message) if message else {}
    return told


def whole(board: Board) -> dict[str, Any]:
    steps = board.whole()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            told: dict[str, Any] = json.loads(b"".join(done.value[1]))
            return told


def names(told: dict[str, Any]) -> list[str]:
    return [row["name"] for row in told.get("rows", ())]


def test_only_what_changed_is_said() -> None:
    fake = Fake("alice", "bob")
    board = board_of(fake)
    renew(board)
    assert board.since(1) == b""
    fake.lives["bob"].become(State.HEALTHY, "takes requests")
    renew(board)
    told = since(board, 2)
    assert names(told) == ["bob"]
    assert told["rows"][0]["state"] == "healthy"
    assert told["rows"][0]["memory"] == 5 * 1024 * 1024
    assert told["totals"]["states"] == {"stopped": 1, "healthy": 1}


def test_who_missed_rounds_is_told_the_newest_state_once() -> None:
    fake = Fake("alice", "bob")
    board = board_of(fake)
    for state in (State.HEALTHY, State.UNHEALTHY, State.FAILED):
        fake.lives["alice"].become(state, state.value)
        renew(board)
    told = since(board, 1)
    assert names(told) == ["alice"]
    assert told["rows"][0]["state"] == "failed"


def test_one_message_is_made_for_all_that_are_as_far() -> None:
    fake = Fake("alice")
    board = board_of(fake)
    fake.lives["alice"].become(State.HEALTHY, "x")
    renew(board)
    assert board.since(1) is board.since(1)


def test_who_is_gone_is_said_so_and_who_is_back_is_not() -> None:
    fake = Fake("alice", "bob")
    board = board_of(fake)
    fake.have("alice")
    renew(board)
    assert since(board, 1)["gone"] == ["bob"]
    fake.have("alice", "bob")
    renew(board)
    told = since(board, 1)
    assert "gone" not in told
    assert names(told) == ["bob"]


def test_who_missed_too_many_that_are_gone_begins_anew(monkeypatch: Any) -> None:
    monkeypatch.setattr(boards, "KEPT_GONE", 2)
    fake = Fake(*"abcde")
    board = board_of(fake)
    for left in ("abcd", "abc", "ab"):
        fake.have(*left)
        renew(board)
    assert board.since(1) is None
    assert board.since(3) is not None


def test_events_are_said_once_and_belong_to_the_next_round() -> None:
    fake = Fake("alice")
    board = board_of(fake)
    fake.told.tell(Kind.FAILED, "alice", "crash", "<script>alert(1)</script>")
    renew(board)
    [event] = since(board, 1)["events"]
    assert event["text"] == "<script>alert(1)</script>"
    assert board.since(2) == b""


def test_all_there_is_has_lines_of_the_last_ten_minutes() -> None:
    clock = Clock()
    clock.advance(1000)
    fake = Fake("alice", "bob")
    fake.histories["alice"] = History(1.0)
    fake.histories["alice"].recent.add(995.0, 4096 * 1024, 7, 0.0)
    told = whole(board_of(fake, clock))
    assert told["all"] is True
    assert names(told) == ["alice", "bob"]
    memory, threads = told["sparks"]["alice"]
    assert (memory[-1], threads[-1], memory[0]) == (4096, 7, None)
    assert list(told["sparks"]) == ["alice"]
    assert told["totals"]["failed_admin"] == 5


def test_all_there_is_comes_in_pieces_of_a_bounded_size() -> None:
    fake = Fake(*(f"tenant-{n}" for n in range(1000)))
    board = board_of(fake)
    steps = board.whole()
    pieces: list[bytes] = []
    try:
        while True:
            next(steps)
    except StopIteration as done:
        pieces = done.value[1]
    assert len(pieces) > 3
    assert max(map(len, pieces)) < boards.PIECE + 2000
    assert len(json.loads(b"".join(pieces))["rows"]) == 1000


def test_how_it_is_with_backups_is_said() -> None:
    fake = Fake("alice")
    board = board_of(fake)
    assert whole(board)["totals"]["backup"] is None
    fake.backups = Standing(5.0, overdue=True)
    renew(board)
    told = since(board, 1)
    assert told["totals"]["backup"] == {"last": 5.0, "overdue": True}
    renew(board)
    assert board.since(2) == b""


def test_requests_become_rates_and_latencies() -> None:
    clock = Clock()
    fake = Fake("alice", "bob")
    board = board_of(fake, clock)
    for second in range(1, 31):
        clock.advance(1)
        fake.counts["alice"] = fake.all = counted(20 * second, second)
        renew(board)
    row = board.row("alice")
    assert row is not None
    assert row.rate == 20
    assert row.errors == 30
    assert row.p50 is not None
    assert 1 < row.p50 < 2.5
    assert board.totals["rate"] == 20
    assert board.course("bob") is None


def test_who_fills_a_quota_is_marked_so_unless_more_is_to_be_said() -> None:
    fake = Fake("alice", "bob", "carol")
    board = board_of(fake)
    quota = fake.lives["alice"].tenant.settings.quota_bytes or 0
    fake.stored = {"alice": quota * 97 // 100, "bob": quota * 89 // 100, "carol": quota}
    fake.lives["carol"].held = True
    renew(board)
    marks = [row.mark for row in board.rows()]
    assert marks == ["97 % of its quota", "", "stopped by hand"]


def test_a_time_that_drifts_by_less_than_a_second_changes_no_row() -> None:
    fake = Fake("alice")
    fake.lives["alice"].become(State.HEALTHY, "takes requests", at=5.0)
    board = board_of(fake)
    fake._wall += 0.4
    renew(board)
    assert board.since(1) == b""
