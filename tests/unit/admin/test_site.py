"""Streams over the site: at the client's pace, and cut when a stuck client may have no more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from sqsuper.admin.guard import Guard
from sqsuper.admin.routing import Access, Answer, Call, Route, Router
from sqsuper.admin.site import AdminSite


class Transport(StringTransport):
    """A client's; `aborted`: whether it was cut."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Streamed:
    """A site with one stream, whose pieces a test sends one by one."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.may = True
        self.given = 0
        self.next: Deferred[None] = Deferred()
        guard = Guard(self.clock.seconds)
        route = Route("GET", "/stream", self.answer, Access.OPEN)
        site = AdminSite(Router([route]), guard, self.clock)
        self.channel: Any = site.buildProtocol(None)  # type: ignore[no-untyped-call]
        self.transport: Any = Transport(  # type: ignore[no-untyped-call]
            hostAddress=_Address(), peerAddress=_Address()
        )
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(b"GET /stream HTTP/1.1\r\nHost: localhost:7\r\n\r\n")

    async def answer(self, call: Call) -> Answer:
        return Answer(200, content_type="x/y", stream=self.pieces(), lasts=lambda: self.may)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        while True:
            self.given += 1
            yield b"piece"
            self.next = Deferred()
            await self.next

    def send(self) -> None:
        self.next.callback(None)

    def close(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))


class _Address:
    host, port = "127.0.0.1", 7


@pytest.fixture
def one() -> Iterator[Streamed]:
    streamed = Streamed()
    yield streamed
    streamed.close()


def test_a_client_that_takes_nothing_is_sent_nothing(one: Streamed) -> None:
    one.send()
    assert one.given == 2
    one.channel.pauseProducing()
    one.send()
    assert one.given == 3
    sent = len(one.transport.value())
    one.clock.advance(5)
    assert len(one.transport.value()) == sent
    one.channel.resumeProducing()
    one.send()
    assert one.given == 4
    assert not one.transport.aborted


def test_a_stuck_client_is_cut_once_it_may_have_no_more(one: Streamed) -> None:
    one.channel.pauseProducing()
    one.clock.advance(5)
    assert not one.transport.aborted
    one.may = False
    one.clock.advance(1)
    assert one.transport.aborted


def test_who_reads_is_left_to_the_stream(one: Streamed) -> None:
    one.may = False
    one.clock.advance(5)
    assert not one.transport.aborted
