from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.gateway.admission import OwnAnswer, admit
from sqsuper.gateway.rate import TokenBucket
from tests.unit.gateway.support import Bench, head_of


def test_a_burst_and_then_one_by_one() -> None:
    bucket = TokenBucket(2.0, 3, 100.0)
    assert [bucket.take(100.0) for _ in range(5)] == [None, None, None, 1, 1]
    assert bucket.take(100.4) == 1
    assert bucket.take(100.5) is None
    assert bucket.take(100.6) == 1
    assert bucket.take(101.0) is None


def test_it_fills_up_to_the_burst_and_no_further() -> None:
    bucket = TokenBucket(10.0, 2, 0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == [None, None, 1]


@pytest.mark.parametrize(
    ("per_second", "wait"), [(1000.0, 1), (1.0, 1), (0.9, 2), (0.5, 2), (0.4, 3), (0.1, 10)]
)
def test_it_tells_whole_seconds_rounded_up(per_second: float, wait: int) -> None:
    bucket = TokenBucket(per_second, 1, 7.0)
    assert bucket.take(7.0) is None
    assert bucket.take(7.0) == wait
    assert bucket.take(7.0 + wait) is None


def test_a_refused_request_takes_nothing() -> None:
    bucket = TokenBucket(1.0, 1, 0.0)
    assert bucket.take(0.0) is None
    for step in range(100):
        assert bucket.take(step / 101) == 1
    assert bucket.take(1.0) is None


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(1.0, 1, 10.0)
    assert bucket.take(10.0) is None
    assert bucket.take(0.0) == 1
    assert bucket.take(10.5) == 1
    assert bucket.take(11.0) is None


@given(
    per_second=st.floats(0.01, 1000),
    burst=st.integers(1, 50),
    pauses=st.lists(st.floats(0, 5), max_size=200),
)
def test_never_more_than_the_burst_and_the_rate(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    bucket = TokenBucket(per_second, burst, 0.0)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        if wait is None:
            taken += 1
            assert taken <= burst + now * per_second + 1e-3
        else:
            assert wait >= 1
            assert taken + 1 > burst - 1e-6  # the first `burst` are never refused


@given(per_second=st.floats(0.01, 1000), burst=st.integers(1, 5), at=st.floats(0, 1e6))
def test_who_waits_as_long_as_told_is_served(per_second: float, burst: int, at: float) -> None:
    bucket = TokenBucket(per_second, burst, at)
    for _ in range(burst):
        assert bucket.take(at) is None
    wait = bucket.take(at)
    assert wait is not None
    assert bucket.take(at + wait) is None


# The rule in `admit`


def decide(bench: Bench, path: str = "/api/v2/toc?p=x", token: str = "tok") -> bytes | None:
    raw = f"GET {path} HTTP/1.1\nHost: h\nAuthorization: {token}"
    found = admit(bench, "192.0.2.1", head_of(raw.encode()))
    return found.render(keep=True) if isinstance(found, OwnAnswer) else None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, rates={"alice": TokenBucket(0.3, 2, 0.0)})


def test_past_the_rate_it_is_a_429(bench: Bench) -> None:
    assert decide(bench) is None
    assert decide(bench) is None
    answer = decide(bench)
    assert answer is not None
    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert answer.count(b"\r\nRetry-After: 4\r\n") == 1
    assert answer.count(b"\r\nX-SQ-Code: rate_limited\r\n") == 1
    assert answer.count(b"\r\nAccess-Control-Allow-Origin: *\r\n") == 1
    bench.clock.advance(3.34)
    assert decide(bench) is None


def test_what_is_refused_before_or_answered_here_takes_nothing(bench: Bench) -> None:
    for _ in range(10):
        for path, token in (
            ("/health", "tok"),
            ("/api/v2/reload", "tok"),
            ("/admin", "tok"),
            ("/api/v2/toc", "unknown"),
        ):
            answer = decide(bench, path, token)
            assert answer is not None
            assert not answer.startswith(b"HTTP/1.1 429")
    assert decide(bench) is None
    assert decide(bench) is None


def test_on_delta_the_reason_stands_in_a_field(bench: Bench) -> None:
    for _ in range(2):
        assert decide(bench, "/api/v2/delta?p=x") is None
    answer = decide(bench, "/api/v2/delta?p=x")
    assert answer is not None
    assert b"\r\nX-SQ-Error: this tenant makes too many requests\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_tenant_without_a_rate_has_none(bench: Bench) -> None:
    bench.rates = {"bob": TokenBucket(1.0, 1, 0.0)}
    assert [decide(bench) for _ in range(100)] == [None] * 100
