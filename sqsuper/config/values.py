"""What a value's text means: durations, sizes, fractions, times, names. No I/O.

Every `parse_*` raises ValueError whose text says what would be right.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from sqsuper.config.model import GIB, KIB, MIB

MAX_DURATION = 10 * 366 * 86_400.0
MAX_SIZE = 2**50
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,16}) ?([KMG]?)", re.ASCII)
_FRACTION = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", re.ASCII)
_PORTS = re.compile(r"([0-9]{1,5}) ?- ?([0-9]{1,5})", re.ASCII)
_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(\.[0-9]{1,6})?"
    r" ?(Z|z|[-+][0-9]{2}:?[0-9]{2})",
    re.ASCII,
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_TOKEN_NAME = re.compile(r"pmb-v1-[0-9a-f-]{16,}", re.ASCII)
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"": 1, "K": KIB, "M": MIB, "G": GIB}

DURATION_FORM = "a number of seconds, or 100ms, 5s, 15m, 1h"
SIZE_FORM = "a number of bytes, or 64K, 512M, 2G"
FRACTION_FORM = "a share such as 15%"
MOMENT_FORM = 'a time with its zone, such as "2027-01-01T00:00:00Z"'


def parse_duration(value: str | float) -> float:
    """Return seconds. A number is seconds already; a text needs its unit."""
    if isinstance(value, str):
        found = _DURATION.fullmatch(value)
        if found is None:
            raise ValueError(DURATION_FORM)
        # Milliseconds are divided, so that 100ms is the same float as 0.1.
        amount = float(found[1])
        seconds = amount / 1000 if found[2] == "ms" else amount * _SECONDS[found[2]]
    elif math.isfinite(value) and value >= 0:
        seconds = float(value)
    else:
        raise ValueError(DURATION_FORM)
    if seconds > MAX_DURATION:
        raise ValueError("at most ten years (87840h)")
    return seconds


def format_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads as this whole number of ms."""
    whole = round(seconds * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}ms" if whole else "0s"


def parse_size(value: str | int) -> int:
    """Return bytes; K, M and G are powers of 1024."""
    if isinstance(value, str):
        found = _SIZE.fullmatch(value)
        if found is None or not found[2]:
            raise ValueError(SIZE_FORM)
        size = int(found[1]) * _BYTES[found[2]]
    elif value >= 0:
        size = value
    else:
        raise ValueError(SIZE_FORM)
    if size > MAX_SIZE:
        raise ValueError("at most 1048576G")
    return size


def format_size(size: int) -> str:
    """Return the shortest text that `parse_size` reads as `size` bytes, or its digits."""
    for unit in "GMK":
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


def parse_fraction(value: str | float) -> float:
    """Return a share of the whole, 0..1, from `15%` or 0.15."""
    if isinstance(value, str):
        found = _FRACTION.fullmatch(value)
        share = float(found[1]) / 100 if found else math.nan
    else:
        share = float(value)
    if not 0 <= share <= 1:
        raise ValueError(FRACTION_FORM)
    return share


def parse_port_range(value: str) -> tuple[int, int]:
    """Return first and last port of `7001-7999`."""
    found = _PORTS.fullmatch(value)
    if found is None:
        raise ValueError("two ports such as 7001-7999")
    first, last = int(found[1]), int(found[2])
    if not 1 <= first <= last <= 65535:
        raise ValueError("two ports from 1 to 65535, the lower one first")
    return first, last


def parse_clock(value: str) -> str:
    """Return a time of day, `HH:MM`, as it is."""
    if _CLOCK.fullmatch(value) is None:
        raise ValueError('a time of day such as "03:30"')
    return value


def parse_moment(value: str) -> datetime:
    """Return an ISO 8601 time with zone as an aware datetime in UTC."""
    found = _MOMENT.fullmatch(value)
    if found is None:
        raise ValueError(MOMENT_FORM)
    day, clock, part, zone = found.groups()
    if clock.count(":") == 1:
        clock += ":00"
    if zone in {"Z", "z"}:
        zone = "+00:00"
    elif ":" not in zone:
        zone = f"{zone[:3]}:{zone[3:]}"
    fraction = f"{part:0<7}" if part else ""
    try:
        return datetime.fromisoformat(f"{day}T{clock}{fraction}{zone}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError(MOMENT_FORM) from None


def parse_network(value: str) -> IPv4Network | IPv6Network:
    """Return the network; a single address is a network of one."""
    try:
        loose = ip_network(value, strict=False)
    except ValueError:
        raise ValueError("an address or network such as 10.0.0.0/8 or fd00::/8") from None
    try:
        return ip_network(value)
    except ValueError:
        raise ValueError(f"{loose} (no bits set beyond the prefix)") from None


def parse_tenant_name(value: str) -> str:
    """Return the name as it is."""
    if _NAME.fullmatch(value) is None:
        raise ValueError("1 to 63 of a-z 0-9 - _ . beginning with a letter or digit")
    if _TOKEN_NAME.fullmatch(value):
        raise ValueError("shown in logs and pages, so never a token")
    return value


def parse_host(value: str) -> str:
    """Return a host name or address as a Host field would have it, in lower case, no port."""
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        address = ip_address(bare)
    except ValueError:
        pass
    else:
        return f"[{address}]" if address.version == 6 else str(address)
    if _HOST.fullmatch(value) is None:
        raise ValueError("a host name or address without a port")
    return value.lower()


def parse_sha256(value: str) -> bytes:
    """Return the digest's 32 bytes."""
    if _SHA256.fullmatch(value) is None:
        raise ValueError("64 hex digits, the SHA-256 of the token")
    return bytes.fromhex(value)
