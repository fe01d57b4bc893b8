"""Restart policy: who comes back, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.config.model import Restart, RestartPolicy
from sqsuper.supervisor.causes import Cause
from sqsuper.supervisor.policy import FIRST_TRIAL, Next, Policy, Verdict

OFTEN = {"intensity": 1000}


def policy(random: float = 0.0, **changes: object) -> Policy:
    return Policy(Restart(**changes), lambda: random)  # type: ignore[arg-type]


def crash(one: Policy, now: float, *, clean: bool = False) -> Verdict:
    return one.ended(now, Cause.CRASH, clean=clean)


def delay_of(verdict: Verdict) -> float:
    assert verdict.next is Next.RETRY
    assert verdict.delay is not None
    return verdict.delay


@pytest.mark.parametrize(
    ("kind", "clean", "after"),
    [
        (RestartPolicy.ALWAYS, True, Next.RETRY),
        (RestartPolicy.ALWAYS, False, Next.RETRY),
        (RestartPolicy.ON_FAILURE, True, Next.STAY),
        (RestartPolicy.ON_FAILURE, False, Next.RETRY),
        (RestartPolicy.NEVER, True, Next.STAY),
        (RestartPolicy.NEVER, False, Next.STAY),
    ],
)
def test_who_comes_back(kind: RestartPolicy, clean: bool, after: Next) -> None:
    assert crash(policy(policy=kind), 0.0, clean=clean).next is after


class TestBackoff:
    def test_it_doubles_up_to_its_cap(self) -> None:
        one = policy(backoff=0.1, backoff_max=1.0, **OFTEN)
        delays = [delay_of(crash(one, 0.0)) for _ in range(6)]
        assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])

    def test_of_ever_failing_instances_it_stays_at_the_cap(self) -> None:
        one = policy(backoff=0.1, backoff_max=30.0, intensity=10_000)
        assert [delay_of(crash(one, 0.0)) for _ in range(2000)][-1] == 30.0

    @given(
        st.floats(0.001, 10.0),
        st.floats(0.0, 1.0),
        st.floats(0.0, 1.0, exclude_max=True),
        st.integers(0, 20),
    )
    def test_jitter_never_passes_the_cap(
        self, backoff: float, jitter: float, random: float, failures: int
    ) -> None:
        one = policy(random, backoff=backoff, backoff_max=20.0, jitter=jitter, **OFTEN)
        for _ in range(failures):
            crash(one, 0.0)
        delay = delay_of(crash(one, 0.0))
        full = min(backoff * 2**failures, 20.0)
        assert full * (1 - jitter) - 1e-9 <= delay <= full

    def test_a_healthy_period_begins_anew(self) -> None:
        one = policy(backoff=0.1, reset_after=60.0)
        for _ in range(3):
            crash(one, 0.0)
        one.healthy(100.0)
        assert delay_of(crash(one, 159.9)) == pytest.approx(0.8)
        one.healthy(200.0)
        assert delay_of(crash(one, 260.0)) == pytest.approx(0.1)

    def test_time_before_ready_is_no_healthy_period(self) -> None:
        one = policy(backoff=0.1, reset_after=60.0)
        one.healthy(0.0)
        one.doubted(1.0)
        crash(one, 100.0)
        assert delay_of(crash(one, 1000.0)) == pytest.approx(0.2)

    def test_a_start_on_demand_has_to_wait_even_if_nothing_restarts_by_itself(self) -> None:
        one = policy(policy=RestartPolicy.NEVER, backoff=0.1)
        crash(one, 1.0)
        crash(one, 2.0)
        assert one.not_before == pytest.approx(2.2)


class TestGivingUp:
    @pytest.mark.parametrize("intensity", [0, 1, 5])
    def test_one_failure_more_than_the_intensity_is_too_many(self, intensity: int) -> None:
        one = policy(intensity=intensity, period=60.0)
        for number in range(intensity):
            assert crash(one, float(number)).next is Next.RETRY
        assert crash(one, 60.0) == Verdict(Next.FAIL, FIRST_TRIAL)
        assert one.not_before == 60.0 + FIRST_TRIAL

    def test_failures_that_lie_further_back_than_the_period_do_not_count(self) -> None:
        one = policy(intensity=2, period=10.0)
        for now in (0.0, 5.0, 10.1, 15.2, 20.3):
            assert crash(one, now).next is Next.RETRY, now
        assert crash(one, 20.4).next is Next.FAIL

    @given(
        st.integers(0, 6),
        st.floats(0.5, 100.0),
        st.lists(st.floats(0.01, 50.0), min_size=1, max_size=40),
    )
    def test_it_is_given_up_exactly_when_there_were_too_many(
        self, intensity: int, period: float, gaps: list[float]
    ) -> None:
        one = policy(intensity=intensity, period=period)
        now, times = 0.0, []
        for gap in gaps:
            now += gap
            times.append(now)
            verdict = crash(one, now)
            recent = [time for time in times if now - time <= period]
            assert (verdict.next is Next.FAIL) == (len(recent) > intensity)
            if verdict.next is Next.FAIL:
                break

    def test_trials_come_at_doubling_intervals_up_to_the_longest(self) -> None:
        one = policy(intensity=0, retry_failed=300.0)
        delays = [crash(one, 1000.0 * n).delay for n in range(6)]
        assert delays == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0]

    def test_the_longest_interval_holds_for_the_first_trial_too(self) -> None:
        assert crash(policy(intensity=0, retry_failed=7.0), 0.0).delay == 7.0

    def test_ever_failing_trials_do_not_overflow(self) -> None:
        one = policy(intensity=0, retry_failed=300.0)
        assert [crash(one, 1000.0 * n).delay for n in range(2000)][-1] == 300.0

    def test_without_trials_only_a_reset_helps(self) -> None:
        one = policy(intensity=0, retry_failed=None)
        assert crash(one, 0.0) == Verdict(Next.FAIL, None)
        assert one.on_trial
        one.planned()
        assert not one.on_trial

    def test_a_trial_has_to_last_before_it_counts_as_mended(self) -> None:
        one = policy(intensity=1, reset_after=60.0)
        crash(one, 0.0)
        assert crash(one, 1.0).delay == 30.0
        one.healthy(31.0)
        assert not one.settle(90.9)
        assert one.on_trial
        assert crash(one, 90.9) == Verdict(Next.FAIL, 60.0)
        one.healthy(151.0)
        assert one.settle(211.0)
        assert not one.on_trial
        assert delay_of(crash(one, 211.0)) == pytest.approx(0.1)
        assert crash(one, 212.0) == Verdict(Next.FAIL, 30.0)

    def test_a_clean_end_that_policy_does_not_restart_is_no_failure(self) -> None:
        one = policy(policy=RestartPolicy.ON_FAILURE, intensity=1)
        for now in (0.0, 1.0, 2.0, 3.0):
            assert crash(one, now, clean=True).next is Next.STAY
        assert crash(one, 4.0).next is Next.RETRY
        assert crash(one, 5.0).next is Next.FAIL

    def test_where_nothing_is_restarted_nothing_is_given_up(self) -> None:
        one = policy(policy=RestartPolicy.NEVER, intensity=0)
        assert {crash(one, float(n)).next for n in range(9)} == {Next.STAY}

    @pytest.mark.parametrize("kind", list(RestartPolicy))
    def test_what_cannot_be_executed_is_given_up_at_once(self, kind: RestartPolicy) -> None:
        one = policy(policy=kind, intensity=5)
        verdict = one.ended(0.0, Cause.CANNOT_EXECUTE, clean=False)
        assert verdict == Verdict(Next.FAIL, None)

    @pytest.mark.parametrize("cause", sorted(set(Cause) - {Cause.CANNOT_EXECUTE}, key=str))
    def test_every_other_cause_counts_alike(self, cause: Cause) -> None:
        one = policy(intensity=1)
        assert one.ended(0.0, cause, clean=False).next is Next.RETRY
        assert one.ended(1.0, cause, clean=False).next is Next.FAIL


class TestPlannedStops:
    def test_they_count_for_nothing(self) -> None:
        one = policy(backoff=0.1)
        crash(one, 5.0)
        assert one.not_before == pytest.approx(5.1)
        one.planned()
        assert one.not_before == 0.0
        assert delay_of(crash(one, 6.0)) == pytest.approx(0.1)

    def test_they_end_the_count_towards_giving_up(self) -> None:
        one = policy(intensity=1)
        for now in range(10):
            assert crash(one, float(now)).next is Next.RETRY
            one.planned()


def test_other_settings_hold_from_the_next_failure_and_what_was_counted_stays() -> None:
    one = policy(backoff=1.0, backoff_max=100.0)
    first, second = (delay_of(crash(one, 0.0)) for _ in range(2))
    one.settings = Restart(backoff=10.0, backoff_max=100.0, jitter=0.0)
    third = delay_of(crash(one, 0.0))
    assert [first, second, third] == [1.0, 2.0, 40.0]
