"""When daily backups are due, and which of them stay."""

from __future__ import annotations

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.backup import shelf
from sqsuper.backup.schedule import PATIENCE, RETRY, is_overdue, last_due, next_due, next_run

BERLIN = ZoneInfo("Europe/Berlin")
DAY = 86_400.0


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def shown(at: float, zone: ZoneInfo = BERLIN) -> str:
    return datetime.fromtimestamp(at, zone).strftime("%m-%d %H:%M %Z")


@pytest.mark.parametrize(
    ("at", "now", "due"),
    [
        ("03:30", "2026-01-10T00:00", "01-10 03:30 CET"),
        ("03:30", "2026-01-10T02:30", "01-11 03:30 CET"),  # now is due, and not after itself
        ("00:00", "2026-01-10T22:59", "01-11 00:00 CET"),
        ("23:59", "2026-07-01T21:58", "07-01 23:59 CEST"),
        # The clocks go from 02:00 to 03:00 on 29 March.
        ("02:30", "2026-03-28T12:00", "03-29 03:30 CEST"),
        ("03:30", "2026-03-28T12:00", "03-29 03:30 CEST"),
        # They go from 03:00 to 02:00 on 25 October.
        ("02:30", "2026-10-24T12:00", "10-25 02:30 CEST"),
        ("02:30", "2026-10-25T00:31", "10-26 02:30 CET"),
    ],
)
def test_next_due(at: str, now: str, due: str) -> None:
    assert shown(next_due(at, utc(now), BERLIN)) == due


@given(
    at=st.sampled_from(["00:00", "02:30", "03:00", "03:30", "12:00", "23:59"]),
    now=st.integers(int(utc("2026-01-01")), int(utc("2027-12-31"))),
    zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
    ),
)
def test_each_calendar_day_once(at: str, now: int, zone: str) -> None:
    there = ZoneInfo(zone)
    before, after = last_due(at, now, there), next_due(at, now, there)
    assert before <= now < after
    days = [datetime.fromtimestamp(due, there).toordinal() for due in (before, after)]
    assert days[1] - days[0] == 1
    assert next_due(at, before, there) == after


class TestRuns:
    now = utc("2026-01-10T12:00")
    today = utc("2026-01-10T02:30")

    def run(self, last: float | None, failed: float | None = None) -> float:
        return next_run("03:30", self.now, last=last, failed=failed, zone=BERLIN)

    def test_made_today(self) -> None:
        assert self.run(self.today) == self.today + DAY

    def test_missed(self) -> None:
        assert self.run(self.today - 1) == self.now
        assert self.run(self.today - 9 * DAY) == self.now

    def test_never_made(self) -> None:
        assert self.run(None) == self.now

    def test_failed(self) -> None:
        assert self.run(None, self.now) == self.now + RETRY
        assert self.run(self.today - DAY, self.now - 2 * RETRY) == self.now

    def test_the_clock_was_set_back(self) -> None:
        assert self.run(self.now + 30 * DAY) == self.today + DAY


@pytest.mark.parametrize(
    ("last", "after", "overdue"),
    [
        (0.0, 3600.0, False),
        (-1.0, PATIENCE - 1, False),  # the one that is due now may be under way
        (-1.0, PATIENCE, True),
        (-DAY, PATIENCE - 1, False),
        (-DAY - 1, 0.0, True),
        (-9 * DAY, 0.0, True),
        (None, 0.0, True),
        (30 * DAY, 3600.0, False),  # the clock was set back
    ],
)
def test_is_overdue(last: float | None, after: float, overdue: bool) -> None:
    due = utc("2026-01-10T02:30")
    made = None if last is None else due + last
    assert is_overdue("03:30", due + after, last=made, zone=BERLIN) is overdue


def daily(day: int, *, partial: bool = False) -> str:
    return shelf.name_of("daily", utc("2026-01-01T02:30") + day * DAY, partial=partial)


class TestRetention:
    def test_the_newest_stay(self) -> None:
        names = [daily(day) for day in range(10)]
        assert sorted(shelf.outlived(names, 7)) == names[:3]
        assert shelf.outlived(names[:7], 7) == []

    def test_nothing_else_goes(self) -> None:
        others = [
            shelf.name_of("all", 0),
            shelf.name_of("tenant-daily", 0),
            "daily.tar.gz",
            "daily-20260101T023000Z.tar.gz.copy",
            "daily-99999999T999999Z.tar.gz",
            ".daily-20260101T023000Z.tar.gz",
            "notes",
        ]
        names = [daily(day) for day in range(10)]
        assert sorted(shelf.outlived(others + names, 1)) == names[:9]

    def test_failures_do_not_drive_out_what_is_whole(self) -> None:
        whole = [daily(day) for day in range(3)]
        failed = [daily(day, partial=True) for day in range(3, 30)]
        assert shelf.outlived(whole + failed, 3) == []
        assert shelf.outlived([*whole, *failed, daily(30)], 3) == [whole[0]]

    def test_partial_ones_go_with_their_time(self) -> None:
        names = [daily(0), daily(1, partial=True), daily(2), daily(3)]
        assert shelf.outlived(names, 2) == [daily(1, partial=True), daily(0)]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("again", [1, 2])
@pytest.mark.parametrize("kind", ["daily", "all", "tenant-a", "tenant-daily-1.x"])
def test_a_name_says_what_it_is(kind: str, again: int, partial: bool) -> None:
    name = shelf.name_of(kind, 1_767_323_045, partial=partial, again=again)
    found = shelf.shelved(name)
    assert found == shelf.Shelved(
        name,
        1_767_323_045,
        kind == "daily",
        kind.removeprefix("tenant-") if kind.startswith("tenant-") else None,
        not partial,
    )


@pytest.mark.parametrize("name", ["", "../all-20260102T030405Z.tar.gz", "all-x.tar.gz", "a/b"])
def test_other_names_are_nobodys(name: str) -> None:
    assert shelf.shelved(name) is None
