"""All connections of clients, and what is done to each of them: one's defect is its own."""

from __future__ import annotations

from collections.abc import Container, Iterator

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sqsuper.gateway.client import ClientConnection
from sqsuper.gateway.doors import Door
from sqsuper.gateway.limits import Limits
from sqsuper.http1.credentials import Grant

log = Logger()


class Clients:
    """The connections that are open."""

    def __init__(self) -> None:
        self._clients: set[ClientConnection] = set()
        self._all_gone: list[Deferred[None]] = []

    def __iter__(self) -> Iterator[ClientConnection]:
        # What is done to one may end others.
        return iter(list(self._clients))

    def add(self, client: ClientConnection) -> None:
        """A connection was opened."""
        self._clients.add(client)

    def discard(self, client: ClientConnection) -> None:
        """A connection is gone."""
        self._clients.discard(client)
        if self._all_gone and not self._clients:
            waiting, self._all_gone = self._all_gone, []
            for done in waiting:
                done.callback(None)

    def all_gone(self) -> Deferred[None]:
        """Return a Deferred that fires when none is open."""
        done: Deferred[None] = Deferred()
        if self._clients:
            self._all_gone.append(done)
        else:
            done.callback(None)
        return done

    def sweep(self, now: float) -> None:
        """End what is past its deadline."""
        for client in self:
            try:
                client.sweep(now)
            except Exception:
                log.failure("the deadlines of a connection")
                client.abort()

    def retime(self, limits: Limits) -> None:
        """Go on with other deadlines."""
        for client in self:
            client.retime(limits)

    def leave(self, doors: Container[Door]) -> None:
        """End those that came in by `doors` with their next answer."""
        for client in self:
            if client.door in doors:
                client.leave()

    def end_revoked(self, revoked: Container[Grant]) -> None:
        """End the open exchanges that began with one of these."""
        for client in self:
            client.end_if_revoked(revoked)

    def close_idle(self, before: float) -> None:
        """Close those that have no request, nor had one since `before`."""
        for client in self:
            client.close_if_idle(before)

    def end_all(self) -> None:
        """Answer what is under way, unless its own answer has begun."""
        for client in self:
            try:
                client.overstayed()
            except Exception:
                log.failure("the end of a request at the stop")
                client.abort()

    def give_up_all(self) -> None:
        """Reset what is still open."""
        for client in self:
            client.give_up()
