"""Where the admin listener is reached: what an endpoint string tells, and what the service says."""

from __future__ import annotations

import json
import os
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


@pytest.mark.parametrize(
    "one",
    [
        {"host": 7},
        {"host": "a\0"},
        {"port": 65536},
        {"port": 0},
        {"port": float("inf")},
        {"port": True},
        {"path": 7},
        {"certificate": ["/c"]},
    ],
)
def test_what_nobody_can_listen_at_says_nothing(one: dict[str, object], tmp_path: Path) -> None:
    told = {"host": "127.0.0.1", "port": 7, "path": None, "certificate": None}
    (tmp_path / FILE).write_text(json.dumps({"listen": [told]}))
    assert said(tmp_path) == Address(port=7)
    (tmp_path / FILE).write_text(json.dumps({"listen": [{**told, **one}]}))
    assert said(tmp_path) is None


def test_deep_nesting_says_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[" * 60_000)
    assert said(tmp_path) is None


@pytest.mark.skipif(os.name != "posix", reason="links and FIFOs of POSIX")
@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo"])
def test_what_the_service_does_not_write_is_not_read(kind: str, tmp_path: Path) -> None:
    other, file = tmp_path / "other", tmp_path / FILE
    other.write_text(text_of([Address(port=7)]))
    if kind == "symlink":
        file.symlink_to(other)
    elif kind == "hard link":
        file.hardlink_to(other)
    else:
        os.mkfifo(file)
    assert said(tmp_path) is None


@pytest.mark.skipif(os.name != "posix", reason="owners of POSIX")
def test_the_file_of_another_user_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text_of([Address(port=7)]))
    own = os.geteuid()
    assert said(tmp_path, {own}) == Address(port=7)
    assert said(tmp_path, {own + 1}) is None
