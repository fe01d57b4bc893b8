"""Which tenants have series of their own, and what the others come to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sqsuper.admin.listing import QUIET, Listing, Others


def test_up_to_the_most_all_are_listed_used_or_not() -> None:
    listing = Listing(3)
    assert listing.choose({"a": None, "b": 1.0, "c": None}, 5.0) == {"a", "b", "c"}


def test_over_it_those_that_were_used() -> None:
    listing = Listing(3)
    assert listing.choose({"a": None, "b": 1.0, "c": None, "d": 2.0}, 5.0) == {"b", "d"}


def test_of_too_many_those_used_last() -> None:
    listing = Listing(2)
    assert listing.choose({"a": 1.0, "b": 3.0, "c": 2.0}, 5.0) == {"b", "c"}


def test_who_is_listed_stays_until_quiet() -> None:
    listing = Listing(2)
    active: dict[str, float | None] = {"a": 1.0, "b": 2.0, "c": None, "d": None}
    assert listing.choose(active, 5.0) == {"a", "b"}
    active |= {"c": 10.0, "d": 11.0}
    assert listing.choose(active, 12.0) == {"a", "b"}
    # Only a is quiet; d was used later than c.
    active["b"] = 3000.0
    assert listing.choose(active, QUIET + 2.0) == {"b", "d"}


def test_one_that_is_gone_makes_room() -> None:
    listing = Listing(2)
    listing.choose({"a": 1.0, "b": 2.0, "c": None}, 5.0)
    assert listing.choose({"b": 2.0, "c": 3.0, "d": None}, 5.0) == {"b", "c"}


def take(others: Others, values: dict[str, float], listed: set[str]) -> float:
    for _ in others.take([(n, (v,)) for n, v in values.items()], frozenset(listed)):
        pass
    return others.sums[0]


def test_the_sum_goes_on_when_one_comes_to_be_listed_or_is_gone() -> None:
    others = Others(1)
    assert take(others, {"a": 5, "b": 7}, set()) == 12
    assert take(others, {"a": 9, "b": 8}, {"a"}) == 13
    assert take(others, {"b": 8}, set()) == 13
    assert take(others, {"a": 9, "b": 9}, {"b"}) == 22
    assert take(others, {"a": 2}, set()) == 24


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abc"), st.integers(0, 5)),
            st.sets(st.sampled_from("abc")),
        ),
        max_size=20,
    )
)
def test_it_never_falls(rounds: list[tuple[dict[str, int], set[str]]]) -> None:
    others = Others(1)
    before = 0.0
    for values, listed in rounds:
        now = take(others, dict(values), listed)
        assert now >= before
        before = now
