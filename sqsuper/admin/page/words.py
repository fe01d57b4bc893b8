"""Figures and times as people read them, in HTML that needs no script; scripts say the same."""

from __future__ import annotations

from datetime import datetime, timezone

UNITS = ("B", "kB", "MB", "GB", "TB")
NOTHING = "–"  # noqa: RUF001 - a dash
RECENT = 5
"""What is so few seconds past is now."""


def size(value: int | None) -> str:
    """Return a number of bytes in a unit that suits it (powers of 1024)."""
    if value is None:
        return NOTHING
    amount, unit = float(value), 0
    while amount >= 1024 and unit < len(UNITS) - 1:
        amount /= 1024
        unit += 1
    return f"{digits(amount) if unit else value} {UNITS[unit]}"


def digits(value: float | None) -> str:
    """Return a number with about three digits."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if value < 10:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:.1f}".removesuffix(".0") if value < 100 else f"{value:,.0f}"


def milliseconds(value: float | None) -> str:
    """Return a latency given in milliseconds."""
    if value is None:
        return NOTHING
    return f"{digits(value)} ms" if value < 1000 else f"{digits(value / 1000)} s"


def lasting(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None:
        return NOTHING
    left = max(0, int(seconds))
    days, hours, minutes = left // 86400, left // 3600 % 24, left // 60 % 60
    if days:
        return _two(days, "d", hours, "h")
    if hours:
        return _two(hours, "h", minutes, "min")
    return _two(minutes, "min", left % 60, "s") if minutes else f"{left} s"


def _two(count: int, unit: str, more: int, name: str) -> str:
    return f"{count} {unit} {more} {name}" if more else f"{count} {unit}"


def ago(seconds: float) -> str:
    """Return how long something is past."""
    return "just now" if seconds < RECENT else f"{lasting(seconds)} ago"


def moment(at: float | None) -> str:
    """Return seconds since the epoch as a time of UTC."""
    if at is None:
        return NOTHING
    return datetime.fromtimestamp(int(at), timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def machine_moment(at: float) -> str:
    """Return seconds since the epoch as `<time datetime>` has them."""
    return datetime.fromtimestamp(int(at), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
