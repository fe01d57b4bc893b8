"""Durations, sizes, shares, times and names."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.config import values as v


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(0, 0), (5, 5), (0.25, 0.25), ("100ms", 0.1), ("5s", 5), ("15m", 900), ("1h", 3600),
     ("1.5s", 1.5), ("0s", 0), ("87840h", v.MAX_DURATION)],
)  # fmt: skip
def test_duration(value: str | float, seconds: float) -> None:
    assert v.parse_duration(value) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "5", "s", "-5s", "+5s", "5 min", "5S", "1d", "1h30m", "nan", "inf", "1e3s", "5s\n",
     "\u0665s", "999999999999h", -1, -0.5, float("nan"), float("inf"), 1e300],
)  # fmt: skip
def test_no_duration(value: str | float) -> None:
    with pytest.raises(ValueError, match=r"number of seconds|ten years"):
        v.parse_duration(value)


@given(st.integers(0, int(v.MAX_DURATION * 1000)))
def test_duration_round_trip(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    text = v.format_duration(seconds)
    assert v.parse_duration(text) == seconds
    assert v.format_duration(v.parse_duration(text)) == text


@pytest.mark.parametrize(
    ("value", "size"),
    [(0, 0), (65536, 65536), ("64K", 65536), ("512M", 512 * 2**20), ("2G", 2**31), ("0K", 0)],
)
def test_size(value: str | int, size: int) -> None:
    assert v.parse_size(value) == size


@pytest.mark.parametrize(
    "value",
    ["", "64", "64k", "64KB", "64KiB", "1T", "-1K", "1.5G", "K", "0x10", -1, 2**51, "9999999G"],
)
def test_no_size(value: str | int) -> None:
    with pytest.raises(ValueError, match=r"number of bytes|at most"):
        v.parse_size(value)


@given(st.integers(0, v.MAX_SIZE))
def test_size_round_trip(size: int) -> None:
    text = v.format_size(size)
    read: str | int = int(text) if text.isdigit() else text
    assert v.parse_size(read) == size


@pytest.mark.parametrize(
    ("value", "share"),
    [("15%", 0.15), ("0%", 0), ("100%", 1), ("12.5%", 0.125), (0.15, 0.15), (1, 1)],
)
def test_share(value: str | float, share: float) -> None:
    assert v.parse_fraction(value) == pytest.approx(share)


@pytest.mark.parametrize("value", ["15", "101%", "-1%", "%", "", "x%", 15, -0.1, float("nan")])
def test_no_share(value: str | float) -> None:
    with pytest.raises(ValueError, match="15%"):
        v.parse_fraction(value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-01T00:00:00Z", datetime(2027, 1, 1, tzinfo=timezone.utc)),
        ("2027-01-01 02:00+02:00", datetime(2027, 1, 1, tzinfo=timezone.utc)),
        ("2026-12-31T19:00:00-0500", datetime(2027, 1, 1, tzinfo=timezone.utc)),
        ("2027-01-01t00:00:00.5z", datetime(2027, 1, 1, 0, 0, 0, 500_000, timezone.utc)),
    ],
)
def test_moment(text: str, moment: datetime) -> None:
    assert v.parse_moment(text) == moment


@pytest.mark.parametrize(
    "text",
    ["", "2027-01-01", "2027-01-01T00:00:00", "2027-02-30T00:00:00Z", "2027-01-01T25:00:00Z",
     "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "tomorrow", "2027-01-01T00:00:00Z\n",
     "2027-01-01T00:00:00+99:99"],
)  # fmt: skip
def test_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="zone"):
        v.parse_moment(text)


@pytest.mark.parametrize("name", ["a", "0", "alice", "a-b_c.d", "a" * 63])
def test_name(name: str) -> None:
    assert v.parse_tenant_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "A", ".a", "-a", "_a", "a/b", "a b", "a\n", "\u00e9", "a" * 64, "..", "\u0661",
     "pmb-v1-0123456789abcdef0123456789abcdef"],
)  # fmt: skip
def test_no_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"letter or digit|never a token"):
        v.parse_tenant_name(name)


@pytest.mark.parametrize(
    ("text", "host"),
    [("Status.Example.org", "status.example.org"), ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"),
     ("[::1]", "[::1]"), ("box", "box")],
)  # fmt: skip
def test_host(text: str, host: str) -> None:
    assert v.parse_host(text) == host


@pytest.mark.parametrize("text", ["", "a:80", "http://a", "a b", "*", "a..b", "[::1", "a" * 64])
def test_no_host(text: str) -> None:
    with pytest.raises(ValueError, match="host name"):
        v.parse_host(text)


@pytest.mark.parametrize("text", ["1-2", "7001-7999", "5-5", "1 - 65535"])
def test_port_range(text: str) -> None:
    first, last = v.parse_port_range(text)
    assert text.replace(" ", "") == f"{first}-{last}"


@pytest.mark.parametrize("text", ["", "7001", "2-1", "0-5", "1-65536", "a-b", "1-2-3", "-1-2"])
def test_no_port_range(text: str) -> None:
    with pytest.raises(ValueError, match="two ports"):
        v.parse_port_range(text)


@pytest.mark.parametrize("text", ["3:30", "24:00", "03:60", "03:30:00", "", "\u0660\u0663:30"])
def test_no_clock(text: str) -> None:
    with pytest.raises(ValueError, match="time of day"):
        v.parse_clock(text)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "fd00::1/8", "x", "10.0.0.0/33", ""])
def test_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=r"network|prefix"):
        v.parse_network(text)
