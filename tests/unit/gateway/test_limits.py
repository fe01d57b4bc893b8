from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.gateway.limits import (
    Connections,
    LineBudget,
    WrongTokens,
    address_key,
    client_address,
)

NETS = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_what_addresses_are_counted_by(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [b"198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"1.1.1.1, 198.51.100.1 ,\t10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", [b"198.51.100.1", b"10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", [b"198.51.100.1, junk"], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1, junk, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", [b"10.2.2.2, 10.3.3.3"], "10.2.2.2"),
        ("::ffff:10.0.0.1", [b"2001:db8::1"], "2001:db8::1"),
        ("fd00::1", [b"198.51.100.1"], "198.51.100.1"),
        ("", [b"198.51.100.1"], ""),
    ],
)
def test_the_clients_address(peer: str, forwarded: list[bytes], address: str) -> None:
    assert client_address(peer, forwarded, NETS) == address


def test_wrong_tokens_are_counted_for_a_minute() -> None:
    tokens = WrongTokens(2)
    assert tokens.count("192.0.2.1", 0.0) is None
    assert tokens.count("192.0.2.1", 30.0) is None
    assert tokens.count("192.0.2.1", 40.0) == 21
    assert tokens.count("192.0.2.2", 40.0) is None
    assert tokens.count("192.0.2.1", 59.9) == 1
    assert tokens.count("192.0.2.1", 60.0) is None
    assert tokens.count("192.0.2.1", 61.0) == 30


def test_a_limit_of_zero_allows_none() -> None:
    assert WrongTokens(0).count("192.0.2.1", 0.0) == 60


def test_only_so_many_addresses_are_kept_oldest_out() -> None:
    tokens = WrongTokens(1, max_addresses=3)
    for number in range(1, 4):
        assert tokens.count(f"192.0.2.{number}", 0.0) is None
    assert tokens.count("192.0.2.1", 1.0) is not None  # the youngest now
    assert tokens.count("192.0.2.9", 2.0) is None  # 192.0.2.2 goes
    assert tokens.count("192.0.2.1", 3.0) is not None
    assert tokens.count("192.0.2.2", 3.0) is None


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", ""]))))
def test_connections_are_counted_and_never_over_the_limit(events: list[tuple[bool, str]]) -> None:
    connections = Connections(5, 2)
    held: list[str] = []
    for entering, address in events:
        if entering:
            admitted = connections.enter(address)
            fits = len(held) < 5 and (not address or held.count(address) < 2)
            assert admitted is fits
            if admitted:
                held.append(address)
        elif address in held:
            held.remove(address)
            connections.leave(address)
        assert connections.total == len(held)


def test_an_address_gets_a_quarter_unless_told_otherwise() -> None:
    connections = Connections(8, None)
    assert [connections.enter("192.0.2.1") for _ in range(3)] == [True, True, False]


def test_lines_have_a_budget_and_the_dropped_ones_are_counted() -> None:
    budget = LineBudget(3)
    assert [budget.spend(7.1) for _ in range(5)] == [0, 0, 0, None, None]
    assert [budget.spend(8.0), budget.spend(8.9)] == [2, 0]
    assert budget.spend(20.0) == 0
