"""Where the admin listener is reached: what an endpoint string tells, and what the service says."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from sqsuper.whereabouts import FILE, Address, bound, said, text_of


@pytest.mark.parametrize(
    ("text", "host", "address"),
    [
        ("tcp:0:interface=127.0.0.1", IPv4Address("TCP", "127.0.0.1", 7), Address(port=7)),
        ("tcp:0", IPv4Address("TCP", "0.0.0.0", 7), Address(port=7)),
        ("tcp6:7", IPv6Address("TCP", "::", 7), Address("::1", 7)),
        ("systemd:domain=INET:index=0", IPv4Address("TCP", "10.0.0.1", 7), Address("10.0.0.1", 7)),
        ("unix:/r/a.sock", UNIXAddress("/r/a.sock"), Address(path="/r/a.sock")),
        (
            "ssl:0:privateKey=/k:certKey=/c",
            IPv4Address("TCP", "127.0.0.1", 7),
            Address(port=7, certificate="/c"),
        ),
        ("unix:a", UNIXAddress(None), None),
    ],
)
def test_what_is_bound(text: str, host: object, address: Address | None) -> None:
    assert bound(text, host) == address


def test_what_is_said_is_read_back(tmp_path: Path) -> None:
    addresses = [Address("::1", 7, certificate="/c"), Address(path="/r/a.sock")]
    (tmp_path / FILE).write_text(text_of(addresses))
    assert said(tmp_path) == addresses[0]
    (tmp_path / FILE).write_text(text_of(addresses[1:]))
    assert said(tmp_path) == addresses[1]


@pytest.mark.parametrize(
    "told", ["", "[]", "{}", '{"listen": 7}', "\xff", '{"listen": [{"host": "h", "port": null}]}']
)
def test_what_is_no_such_file_says_nothing(told: str, tmp_path: Path) -> None:
    assert said(tmp_path) is None
    (tmp_path / FILE).write_text(told, "latin-1")
    assert said(tmp_path) is None


def test_one_that_listens_nowhere_says_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text_of([]))
    assert said(tmp_path) is None
