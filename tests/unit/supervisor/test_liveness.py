"""What missed and answered probes mean."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sqsuper.config.model import Health
from sqsuper.supervisor.liveness import Liveness, Verdict

SETTINGS = Health(interval=5.0, timeout=2.0, unhealthy_after=3, healthy_after=2, busy_max=20.0)


def missed(liveness: Liveness, asked: float, *, works: bool = False) -> Verdict:
    return liveness.miss(SETTINGS, asked, asked + SETTINGS.timeout, works=works)


def test_dead_after_so_many_in_a_row() -> None:
    liveness = Liveness()
    assert [missed(liveness, at) for at in (5, 10)] == [Verdict.LATE] * 2
    liveness.answered(SETTINGS)
    assert [missed(liveness, at) for at in (20, 25)] == [Verdict.LATE] * 2
    assert missed(liveness, 30) is Verdict.DEAD


def test_busy_is_not_dead_for_so_long() -> None:
    liveness = Liveness()
    verdicts = [missed(liveness, at, works=True) for at in (5, 10, 15, 20, 24)]
    assert verdicts == [Verdict.BUSY] * 4 + [Verdict.DEAD]
    assert liveness.busy_since == 5


def test_who_answers_may_be_busy_anew() -> None:
    liveness = Liveness()
    missed(liveness, 5, works=True)
    liveness.answered(SETTINGS)
    assert liveness.busy_since is None
    assert missed(liveness, 30, works=True) is Verdict.BUSY


def test_who_was_busy_and_hangs_is_found_as_soon_as_any_other() -> None:
    liveness = Liveness()
    assert missed(liveness, 5) is Verdict.LATE
    assert missed(liveness, 10, works=True) is Verdict.BUSY
    verdicts = [missed(liveness, at) for at in (15, 20, 25)]
    assert verdicts == [Verdict.LATE, Verdict.LATE, Verdict.DEAD]


def test_in_doubt_it_is_asked_more_often_and_dead_after_the_same_time() -> None:
    liveness = Liveness()
    assert liveness.pause(SETTINGS) == 5
    liveness.doubted(100.0)
    assert liveness.pause(SETTINGS) <= 0.1
    assert liveness.miss(SETTINGS, 100.0, 100.0, works=False) is Verdict.LATE
    assert liveness.miss(SETTINGS, 114.0, 114.9, works=False) is Verdict.LATE
    assert liveness.miss(SETTINGS, 115.0, 115.0, works=False) is Verdict.DEAD


def test_it_is_trusted_again_after_so_many_answers_in_a_row() -> None:
    liveness = Liveness()
    liveness.answered(SETTINGS)
    liveness.answered(SETTINGS)
    liveness.doubted(10.0)
    assert not liveness.answered(SETTINGS)
    missed(liveness, 11)
    assert not liveness.answered(SETTINGS)
    assert liveness.answered(SETTINGS)
    liveness.trusted()
    assert liveness.pause(SETTINGS) == 5


@given(st.booleans(), st.lists(st.sampled_from(["answer", "late", "busy"]), max_size=60))
def test_dead_only_without_a_sign_of_life(doubted: bool, happened: list[str]) -> None:
    liveness = Liveness()
    if doubted:
        liveness.doubted(0.0)
    row = busy_for = 0
    for number, what in enumerate(happened, 1):
        at = number * SETTINGS.interval
        if what == "answer":
            liveness.answered(SETTINGS)
            row = busy_for = 0
            continue
        verdict = missed(liveness, at, works=what == "busy")
        if what == "busy":
            row = 0
            assert verdict is not Verdict.LATE
        else:
            row += 1
            assert verdict is not Verdict.BUSY
        busy_for += what == "busy"
        if verdict is Verdict.DEAD and not doubted:
            assert row >= SETTINGS.unhealthy_after or busy_for
        if row >= SETTINGS.unhealthy_after and not doubted:
            assert verdict is Verdict.DEAD
