"""What is counted, and what it comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.gateway import statistics
from sqsuper.gateway.statistics import (
    ACTIVE,
    BOUNDS,
    BYTES_IN,
    COLD_STARTS,
    METHOD,
    NOBODY,
    WIDTH,
    ColdStarts,
    Counts,
    Lag,
    Ledger,
    Statistics,
    count,
    count_latency,
    new_row,
    percentile,
    statistics_of,
)
from sqsuper.gateway.tallies import Tallies
from sqsuper.instances import Unavailable
from sqsuper.testing import FakeWire
from tests.unit.gateway.support import ANSWER, GET, UPSTREAM, Bench

LEN = len(GET)


def of_alice(bench: Bench) -> Statistics:
    return statistics_of(bench.counts.of("alice"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.instances.upstreams["alice"] = UPSTREAM
    return bench


def served(bench: Bench, answer: bytes = ANSWER) -> tuple[FakeWire, FakeWire]:
    """Let one request be answered; return the client's and the instance's wire."""
    wire = bench.client()
    wire.receive(GET)
    (attempt,) = bench.connector.undecided()
    up = attempt.succeed()
    up.receive(answer)
    return wire, up


class TestRequests:
    def test_the_first_and_the_plain_ones_after_it_count_alike(self, bench: Bench) -> None:
        wire, up = served(bench)
        first = of_alice(bench)
        assert first.requests_by_class == (0, 1, 0, 0, 0)
        assert (first.bytes_in, first.bytes_out) == (LEN, len(wire.sent))
        assert sum(first.latency) == 1
        bench.clock.advance(2.0)
        wire.receive(GET)
        bench.clock.advance(0.3)
        up.receive(ANSWER)
        second = of_alice(bench)
        assert second.requests_by_class == (0, 2, 0, 0, 0)
        assert (second.bytes_in, second.bytes_out) == (2 * LEN, len(wire.sent))
        assert second.latency_seconds == pytest.approx(0.3)
        assert second.last_active == pytest.approx(2.3)
        assert second.latency[BOUNDS.index(0.5)] == 1
        assert second.methods == {"GET": 2, "POST": 0, "DELETE": 0, "HEAD": 0, "OPTIONS": 0}

    @pytest.mark.parametrize("plain", [False, True])
    @pytest.mark.parametrize("status", [200, 301, 404, 507])
    def test_by_class_of_the_status(self, bench: Bench, status: int, plain: bool) -> None:
        answer = ANSWER.replace(b"200 OK", b"%d X" % status)
        wire, up = served(bench)
        if plain:
            for _ in range(2):
                wire.receive(GET)
                up.receive(answer)
        else:
            wire.receive(GET)
            up.receive(answer[:20])
            up.receive(answer[20:])
        expected = [0, 1, 0, 0, 0]
        expected[status // 100 - 1] += 1 + plain
        assert list(of_alice(bench).requests_by_class) == expected

    def test_methods_and_bodies(self, bench: Bench) -> None:
        wire, up = served(bench)
        post = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n")
        for pieces in ([post + b"12345"], [post + b"12345"], [post, b"12", b"345"]):
            for piece in pieces:
                wire.receive(piece)
            up.receive(ANSWER)
        got = of_alice(bench)
        assert got.methods["POST"] == 3
        assert got.methods["GET"] == 1
        assert got.bytes_in == LEN + 3 * (len(post) + 5)

    def test_pipelined_requests_have_each_their_own_bytes(self, bench: Bench) -> None:
        wire, up = served(bench)
        wire.receive(GET + GET + GET[:10])
        up.receive(ANSWER)
        assert of_alice(bench).bytes_in == 2 * LEN
        up.receive(ANSWER)
        wire.receive(GET[10:])
        up.receive(ANSWER)
        assert of_alice(bench).bytes_in == 4 * LEN
        assert of_alice(bench).requests == 4

    def test_who_goes_before_the_answer_counts_as_4xx_and_has_no_latency(
        self, bench: Bench
    ) -> None:
        wire, _ = served(bench)
        before = sum(of_alice(bench).latency)
        wire.receive(GET)
        wire.lose()
        assert of_alice(bench).requests_by_class == (0, 1, 0, 1, 0)
        assert sum(of_alice(bench).latency) == before
        assert of_alice(bench).upstream_errors == 0

    def test_an_instance_that_fails(self, bench: Bench) -> None:
        wire, up = served(bench)
        wire.receive(GET)
        up.lose()
        assert of_alice(bench).requests_by_class == (0, 1, 0, 0, 1)
        assert of_alice(bench).upstream_errors == 1
        assert bench.counts.rejected == {}

    def test_an_answer_that_is_cut(self, bench: Bench) -> None:
        wire, up = served(bench)
        wire.receive(GET)
        up.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        up.lose()
        wire.lose()
        assert of_alice(bench).requests_by_class == (0, 2, 0, 0, 0)
        assert of_alice(bench).upstream_errors == 1
        assert of_alice(bench).bytes_out == len(wire.sent)

    def test_an_instance_that_does_not_answer(self, bench: Bench) -> None:
        wire, _ = served(bench)
        wire.receive(GET)
        bench.advance(41.0)
        assert of_alice(bench).requests_by_class == (0, 1, 0, 0, 1)
        assert of_alice(bench).upstream_errors == 1

    def test_what_is_nobodys(self, bench: Bench) -> None:
        for raw in (
            GET.replace(b"tok", b"other"),
            b"GET / HTTP/3.0\r\n\r\n",
            b"OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n",
        ):
            bench.client().receive(raw)
        nobody = statistics_of(bench.counts.nobody)
        assert nobody.requests_by_class == (0, 1, 0, 1, 1)
        assert nobody.methods == {"GET": 1, "POST": 0, "DELETE": 0, "HEAD": 0, "OPTIONS": 1}
        assert sum(nobody.latency) == 0
        assert of_alice(bench).requests == 0
        assert sum(bench.counts.rejected.values()) == 2
        assert bench.counts.rejected["unauthorized"] == 1

    def test_a_tenants_request_that_is_refused_here(self, bench: Bench) -> None:
        bench.client().receive(GET.replace(b"/a", b"/api/v2/reload"))
        assert of_alice(bench).requests_by_class == (0, 0, 0, 1, 0)
        assert bench.counts.rejected == {"forbidden": 1}


class TestColdStarts:
    def test_one_for_all_who_wait_for_an_instance(self, bench: Bench) -> None:
        del bench.instances.upstreams["alice"]
        for _ in range(3):
            bench.client().receive(GET)
        bench.instances.settle("alice", UPSTREAM)
        assert of_alice(bench).cold_starts == 1

    def test_none_where_nothing_came_of_it(self, bench: Bench) -> None:
        del bench.instances.upstreams["alice"]
        bench.client().receive(GET)
        bench.instances.settle("alice", Unavailable("failed", "no", 1))
        assert of_alice(bench).cold_starts == 0
        assert bench.counts.rejected == {"failed": 1}

    def test_waiting_for_one_that_served_already_is_none(self) -> None:
        starts = ColdStarts()
        starts.used(4)
        assert [starts.waited(epoch) for epoch in (4, 5, 5, 6)] == [False, True, False, True]

    def test_the_first_one_of_all_is_one(self) -> None:
        assert ColdStarts().waited(1)


class TestPercentile:
    def test_without_any(self) -> None:
        assert percentile([0] * (len(BOUNDS) + 1), 0.5) is None

    @pytest.mark.parametrize(
        ("place", "share", "seconds"),
        [(0, 0.5, 0.000125), (0, 1.0, 0.00025), (3, 0.5, 0.00175), (len(BOUNDS), 0.5, 10.0)],
    )
    def test_within_one_bucket(self, place: int, share: float, seconds: float) -> None:
        buckets = [0] * (len(BOUNDS) + 1)
        buckets[place] = 10
        assert percentile(buckets, share) == pytest.approx(seconds)

    @given(st.lists(st.floats(0.0001, 9.9), min_size=1, max_size=50), st.floats(0.01, 1.0))
    def test_it_is_within_the_bucket_of_the_right_request(
        self, took: list[float], share: float
    ) -> None:
        row = new_row()
        for seconds in took:
            count_latency(row, seconds)
        found = percentile(statistics_of(row).latency, share)
        assert found is not None
        rank = max(0, -(-round(share * len(took) * 1e9) // 10**9) - 1)
        right = sorted(took)[min(rank, len(took) - 1)]
        above = next(bound for bound in BOUNDS if bound >= right)
        below = max((bound for bound in (0.0, *BOUNDS) if bound < above), default=0.0)
        assert below <= found <= above * (1 + 1e-9)


class TestLedger:
    @given(st.lists(st.tuples(st.sampled_from(["a", "b", NOBODY]), st.booleans()), max_size=60))
    def test_nothing_is_lost_or_counted_twice(self, steps: list[tuple[str, bool]]) -> None:
        counts, ledger = Counts(), Ledger()
        for name, take in steps:
            count(counts.of(name), b"GET", 200, received=1, sent=2, now=5.0)
            if take:
                for taken in counts.take_all(100.0):
                    ledger.enter(*taken)
        counts.forget("a")
        ledger.forget("a")
        for taken in counts.take_all(100.0):
            ledger.enter(*taken)
        everything = ledger.all()
        assert (everything.requests, everything.bytes_out) == (len(steps), 2 * len(steps))
        assert ledger.of("a") == Statistics()
        there = [name for name, _ in steps].count("b")
        assert ledger.of("b").requests == there
        assert ledger.of("b").last_active == (105.0 if there else None)

    def test_a_row_stays_the_same_object(self) -> None:
        counts = Counts()
        row = counts.of("a")
        count(row, b"GET", 200, received=1, sent=2, now=1.0)
        assert counts.take("a") is not None
        assert counts.of("a") is row
        assert row == new_row()
        assert counts.take("a") is None

    def test_json(self) -> None:
        row = new_row()
        count(row, None, 400, received=7, sent=2, now=1.0)
        count_latency(row, 0.2)
        told = json.loads(json.dumps(statistics_of(row, in_flight=3).as_json()))
        assert told["requests_by_class"]["4xx"] == 1
        assert told["methods"]["GET"] == 0
        assert told["in_flight"] == 3
        assert told["latency"]["mean"] == pytest.approx(0.2)

    def test_the_places_of_a_row_do_not_overlap(self) -> None:
        places = [*range(5), BYTES_IN, 6, 7, COLD_STARTS, *METHOD.values(), statistics.SECONDS]
        places += [*range(statistics.BUCKETS, ACTIVE), ACTIVE]
        assert sorted(places) == list(range(WIDTH))


class TestTallies:
    def test_workers_together(self) -> None:
        tenants = {"a"}
        tallies = Tallies(tenants)
        for worker in (0, 1):
            row = new_row()
            count(row, b"GET", 200, received=1, sent=2, now=5.0 + worker)
            row[COLD_STARTS] = 1
            tallies.counted([("a", row), ("gone", row.copy())])
            tallies.gateway(worker, {"overloaded": 1}, 3, 2, 0.25 * worker)
            tallies.waited("a", 7)
        assert tallies.of("a", 4).requests == 2
        assert tallies.of("a", 4).in_flight == 4
        assert tallies.of("a", 4).cold_starts == 1
        assert tallies.of("a", 4).last_active == 6.0
        assert tallies.of("gone", 0) == Statistics()
        totals = tallies.totals(9)
        assert (totals.all.requests, totals.all.in_flight) == (4, 9)
        assert (totals.rejected, totals.accepted) == ({"overloaded": 2}, 6)
        assert (totals.connections, totals.loop_lag) == (4, 0.25)
        tallies.ended(1)
        assert (tallies.totals(0).connections, tallies.totals(0).accepted) == (2, 6)

    def test_what_an_instance_answered_before_is_no_cold_start(self) -> None:
        tallies = Tallies({"a"})
        tallies.used("a", 3)
        tallies.waited("a", 3)
        assert tallies.of("a", 0).cold_starts == 0

    def test_a_tenant_that_is_gone(self) -> None:
        tenants = {"a"}
        tallies = Tallies(tenants)
        tallies.waited("a", 3)
        tenants.clear()
        tallies.forget("a")
        assert tallies.of("a", 0) == Statistics()
        assert tallies.totals(0).all.cold_starts == 1

    def test_unknown_tokens_of_a_worker_that_ended_stay_counted(self) -> None:
        tallies = Tallies({"a"})
        tallies.tokens(0, {}, 3)
        tallies.tokens(1, {}, 2)
        tallies.ended(0)
        assert tallies.wrong_tokens == 5
        tallies.tokens(0, {}, 1)
        assert tallies.wrong_tokens == 6

    def test_a_token_was_used_when_any_worker_had_it_last(self) -> None:
        tallies = Tallies({"a"})
        tallies.tokens(0, {"ab": 20.0}, 0)
        tallies.tokens(1, {"ab": 10.0}, 0)
        assert tallies.token_used(b"\xab") == 20.0
        assert tallies.token_used(b"\xcd") is None


def test_lag_is_the_worst_of_the_last_minute_or_two() -> None:
    lag = Lag()
    worst = []
    for at, late in ((0.0, 0.1), (30.0, 0.5), (70.0, 0.2), (130.0, 0.0), (300.0, 0.0)):
        lag.late(late, at)
        worst.append(lag.worst)
    assert worst == [0.1, 0.5, 0.5, 0.2, 0.0]
