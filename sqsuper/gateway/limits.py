"""Limits: what holds for every connection, and what is counted by address."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import attrs

from sqsuper.config.model import Gateway

Network = IPv4Network | IPv6Network
WINDOW = 60.0
MAX_ADDRESSES = 10_000


@attrs.frozen
class Limits:
    """What holds for every client connection: `configuration.md`, in seconds and bytes."""

    max_head_bytes: int
    max_body_bytes: int
    head_timeout: float
    idle_timeout: float
    body_timeout: float
    body_rate: int
    send_timeout: float
    upstream_timeout: float

    @classmethod
    def of(cls, gateway: Gateway) -> Limits:
        """Return those of a configuration."""
        idle = gateway.idle_timeout
        return cls(
            max_head_bytes=gateway.max_head_bytes,
            max_body_bytes=gateway.max_body_bytes,
            head_timeout=gateway.head_timeout,
            idle_timeout=idle,
            body_timeout=idle if gateway.body_timeout is None else gateway.body_timeout,
            body_rate=gateway.body_rate,
            send_timeout=idle if gateway.send_timeout is None else gateway.send_timeout,
            upstream_timeout=gateway.upstream_timeout,
        )


# Of each connection it is asked twice, and most come from few addresses.
@lru_cache(maxsize=1024)
def address_key(address: str) -> str:
    """Return what addresses are counted by: an IPv4 address, or an IPv6 address' /64."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)


def client_address(peer: str, forwarded: Sequence[bytes], trusted: Iterable[Network]) -> str:
    """Return the client's address.

    `peer`, unless it is in a `trusted` network: then the last address of the X-Forwarded-For
    values `forwarded` that is not; what is no address ends the search.
    """
    networks = tuple(trusted)
    if not networks or not _within(peer, networks):
        return peer
    listed = b",".join(forwarded).decode("latin-1").split(",")
    current = peer
    for entry in reversed(listed):
        text = entry.strip(" \t")
        try:
            ip_address(text)
        except ValueError:
            break
        current = text
        if not _within(text, networks):
            break
    return current


def _within(address: str, networks: Iterable[Network]) -> bool:
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed.version == network.version and parsed in network for network in networks)


class WrongTokens:
    """Unknown tokens by address in the last minute (`limit` of them are allowed)."""

    def __init__(self, limit: int, max_addresses: int = MAX_ADDRESSES) -> None:
        self._limit = limit
        self._max_addresses = max_addresses
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def resize(self, limit: int) -> None:
        """Allow so many from now on; what was counted stays counted."""
        self._limit = limit

    def count(self, address: str, now: float) -> int | None:
        """Count one more; return None, or, past the limit, whole seconds until fewer are left."""
        key = address_key(address)
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = deque()
            if len(self._times) > self._max_addresses:
                self._times.popitem(last=False)
        else:
            self._times.move_to_end(key)
        while times and times[0] <= now - WINDOW:
            times.popleft()
        if len(times) >= self._limit:
            if not times:
                return int(WINDOW)
            return max(1, int(times[0] + WINDOW - now) + 1)
        times.append(now)
        return None


class LineBudget:
    """How many lines may be logged: `limit` in each second."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._second = -1
        self._lines = 0

    def spend(self, now: float) -> int | None:
        """Ask for one line at `now` (seconds).

        Return None when there is none left; else how many were dropped in the second before.
        """
        second = int(now)
        dropped = 0
        if second != self._second:
            dropped = max(0, self._lines - self._limit)
            self._second, self._lines = second, 0
        self._lines += 1
        return dropped if self._lines <= self._limit else None


class Connections:
    """Open client connections, in all and by address."""

    def __init__(self, limit: int, limit_per_address: int | None) -> None:
        self.resize(limit, limit_per_address)
        self._counts: dict[str, int] = {}
        self.total = 0

    def resize(self, limit: int, limit_per_address: int | None) -> None:
        """Go on with other limits; who is there stays."""
        self._limit = limit
        self._per_address = max(1, limit // 4) if limit_per_address is None else limit_per_address

    def enter(self, address: str) -> bool:
        """Count a connection; False (and nothing counted) if there are too many already."""
        return self._admit(address_key(address), bool(address), 0, 0)

    def _admit(self, key: str, addressed: bool, elsewhere: int, here: int) -> bool:
        """Count one of the address `key` unless, with `elsewhere` more in all and `here` more
        from that address, there are too many.
        """
        count = self._counts.get(key, 0)
        # Peers on a Unix socket have no address: only the total holds for them.
        if self.total + elsewhere >= self._limit or (
            addressed and count + here >= self._per_address
        ):
            return False
        self._counts[key] = count + 1
        self.total += 1
        return True

    def leave(self, address: str) -> None:
        """Count a connection off that `enter` took."""
        key = address_key(address)
        count = self._counts[key] - 1
        if count:
            self._counts[key] = count
        else:
            del self._counts[key]
        self.total -= 1
