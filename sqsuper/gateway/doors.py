"""The endpoints that the gateway listens at, and going over to others while it serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import attrs
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from sqsuper.config.diff import listeners
from sqsuper.config.endpoints import Endpoint, take_apart
from sqsuper.gateway.listening import Listening, UserFor
from sqsuper.gateway.wire import Wire, WireUser

log = Logger()

# What makes the user of a new connection, which came in by that door.
Admit = Callable[[Wire, str, "Door"], WireUser]


@attrs.define(eq=False)
class Door:
    """What connections come in by: an endpoint, or several that are one port's certificates."""

    endpoints: int = 0


@attrs.define(eq=False)
class _Bound:
    endpoint: str
    door: Door
    listening: Listening


class Binds(Protocol):
    """What doors need of `listening.Wires`."""

    async def listen(self, endpoint: str, user_for: UserFor) -> Listening: ...


class Doors:
    """Everything that is bound, by its endpoint string."""

    def __init__(self, wires: Binds, admit: Admit) -> None:
        self._wires = wires
        self._admit = admit
        self._bound: list[_Bound] = []

    async def open(self, endpoints: Sequence[str]) -> None:
        """Bind all; raises what the reactor does, and what is bound stays so until `close`."""
        for endpoint in endpoints:
            self._bound.append(await self._bind(endpoint))

    def addresses(self) -> list[IAddress]:
        """Return what they are bound to, in the order of binding."""
        return [bound.listening.address() for bound in self._bound]

    async def close(self) -> None:
        """Take no more connections. Idempotent."""
        bound, self._bound = self._bound, []
        for one in bound:
            await _close(one)

    async def prepare(self, endpoints: Sequence[str]) -> Moving:
        """Bind what of `endpoints` is new, and close nothing yet.

        Where a new one needs the port of one that goes, that one's is taken over: nothing
        listens there for the moment in between. Raises what the reactor does when one cannot
        be bound; all is as it was then.
        """
        new, gone = listeners([one.endpoint for one in self._bound], endpoints)
        moving = Moving(self, self._going(gone))
        try:
            await moving.bind(new)
        except BaseException:
            await moving.withdraw()
            raise
        return moving

    def _going(self, gone: Sequence[str]) -> list[_Bound]:
        left = list(gone)
        found = []
        for one in self._bound:
            if one.endpoint in left:
                left.remove(one.endpoint)
                found.append(one)
        return found

    async def _bind(self, endpoint: str) -> _Bound:
        door = self._door(endpoint)
        listening = await self._listen(endpoint, door)
        door.endpoints += 1
        return _Bound(endpoint, door, listening)

    async def _listen(self, endpoint: str, door: Door) -> Listening:
        return await self._wires.listen(endpoint, lambda wire, peer: self._admit(wire, peer, door))

    def _door(self, endpoint: str) -> Door:
        apart = _apart(endpoint)
        for one in self._bound:
            other = _apart(one.endpoint)
            if apart is not None and other is not None and apart.joins(other) and apart.port:
                return one.door
        return Door()


class Moving:
    """New endpoints that are bound, and those that will be closed: until one of the calls."""

    def __init__(self, doors: Doors, going: list[_Bound]) -> None:
        self._doors = doors
        self._going = going
        self._new: list[_Bound] = []
        self._taken_over: list[_Bound] = []

    async def bind(self, endpoints: Sequence[str]) -> None:
        """Bind them; see `Doors.prepare`."""
        later: list[tuple[str, list[_Bound]]] = []
        for endpoint in endpoints:
            try:
                await self._bind(endpoint)
            except CannotListenError:
                rivals = [one for one in self._going if _rivals(endpoint, one.endpoint)]
                if not rivals:
                    raise
                later.append((endpoint, rivals))
        # Last, when nothing but they can fail.
        for endpoint, rivals in later:
            for rival in rivals:
                if rival not in self._taken_over:
                    self._taken_over.append(rival)
                    await _close(rival)
            await self._bind(endpoint)

    async def _bind(self, endpoint: str) -> None:
        bound = await self._doors._bind(endpoint)
        self._new.append(bound)
        # At once: the next one may be another certificate of its port.
        self._doors._bound.append(bound)

    async def commit(self) -> set[Door]:
        """Close what goes; return the doors that nothing leads to any more."""
        for one in self._going:
            self._doors._bound.remove(one)
            one.door.endpoints -= 1
        for one in self._going:
            if one not in self._taken_over:
                await _close(one)
        return {one.door for one in self._going if not one.door.endpoints}

    async def withdraw(self) -> None:
        """Close what is new, and bind again what was taken over."""
        for one in self._new:
            self._doors._bound.remove(one)
            one.door.endpoints -= 1
            await _close(one)
        for one in self._taken_over:
            try:
                one.listening = await self._doors._listen(one.endpoint, one.door)
            except Exception:
                log.failure("{endpoint} cannot be bound again", endpoint=one.endpoint)
                self._doors._bound.remove(one)
        self._new, self._going, self._taken_over = [], [], []


async def _close(one: _Bound) -> None:
    try:
        await one.listening.close()
    except Exception:
        # Such as a Unix socket's file that is gone: no reason not to go on.
        log.failure("a listener was not closed cleanly")


def _apart(endpoint: str) -> Endpoint | None:
    try:
        return take_apart(endpoint, Path())
    except ValueError:
        return None


def _rivals(endpoint: str, other: str) -> bool:
    """Whether both cannot be bound at once."""
    one, two = _apart(endpoint), _apart(other)
    if one is None or two is None:
        return False
    same_path = one.kind == two.kind == "unix" and (
        one.arguments.get("address") == two.arguments.get("address")
    )
    return one.shares_port(two) or same_path
