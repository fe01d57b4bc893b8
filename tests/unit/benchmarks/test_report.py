"""Rows, the table, and reading wrk."""

from __future__ import annotations

import json

import pytest

from benchmarks import load
from benchmarks.bench import turns
from benchmarks.figures import at_least
from benchmarks.report import MISS, PASS, absent, document, failed, judged, shown, table
from benchmarks.rounds import interleave

WRK = """\
Running 1s test @ http://127.0.0.1:1/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.95ms    1.01ms  12.05ms   91.19%
  Latency Distribution
     50%  600.00us
     99%    4.57ms
  17000 requests in 1.00s, 5.32MB read
  Socket errors: connect 1, read 20, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:  16987.65
"""


def test_what_wrk_says() -> None:
    result = load.parse(WRK)
    assert (result.rate, result.p99, result.requests) == (16987.65, 4.57, 17000)
    assert (result.errors, result.cut) == (1 + 4 + 5, 20 + 3)
    assert result.bad


def test_a_run_without_errors_has_none() -> None:
    clean = "\n".join(line for line in WRK.splitlines() if "err" not in line and "Non" not in line)
    result = load.parse(clean)
    assert (result.errors, result.cut, result.bad) == (0, 0, "")


def test_what_is_no_report_of_wrk_is_said() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        load.parse("", "unable to connect")


def test_errors_miss_a_goal_that_the_rate_reaches() -> None:
    assert judged("a", at_least(1), 2.0).verdict == PASS
    assert judged("a", at_least(1), 0.999).verdict == MISS
    row = judged("a", at_least(1), 2.0, errors=3)
    assert row.verdict == MISS
    assert "3 errors" in row.note


def test_the_table_says_what_is_missing_and_what_broke() -> None:
    rows = [
        judged("first", at_least(1, 3), 3.21),
        absent("second", at_least(2), "nginx is not installed"),
        failed("third", OSError("no")),
        shown("fourth", "1/s"),
    ]
    lines = table(rows).splitlines()
    assert len(lines) == 6
    assert "at least 1 (stretch 3)" in lines[2]
    assert "3.21" in lines[2]
    assert "stretch reached" in lines[2]
    assert "not measured" in lines[3]
    assert "nginx is not installed" in lines[3]
    assert "OSError: no" in lines[4]
    assert len({line.index("|", 2) for line in lines}) == 1


def test_the_document_holds_the_figures() -> None:
    text = document([judged("a", at_least(1), 2.0, rates=[1, 2])], machine={"cores": "2"})
    found = json.loads(text)
    assert found["machine"] == {"cores": "2"}
    assert found["rows"][0]["figures"] == {"value": 2.0, "errors": 0, "rates": [1, 2]}


def test_rounds_are_back_to_back_and_the_first_is_thrown_away() -> None:
    order: list[str] = []

    def measure(name: str) -> int:
        order.append(name)
        return len(order)

    series = interleave({"x": "x", "y": "y"}, measure, 2, pause=lambda: None)
    assert "".join(order) == "xyyxxy"
    assert series.results == {"x": [4, 5], "y": [3, 6]}


def test_who_fails_is_left_out_and_the_others_go_on() -> None:
    def measure(name: str) -> int:
        if name == "y":
            raise OSError("gone")
        return 1

    series = interleave({"x": "x", "y": "y"}, measure, 3, pause=lambda: None)
    assert series.results == {"x": [1, 1, 1]}
    assert "gone" in series.failed["y"]


def test_a_script_sends_requests_in_turn() -> None:
    lines = turns(["one()", "two()"]).splitlines()
    assert "  requests[1] = one()" in lines
    assert "  requests[2] = two()" in lines
    assert "  n = n % #requests + 1" in lines
