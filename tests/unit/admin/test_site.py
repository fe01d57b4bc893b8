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
from sqsuper.admin.site import MAX_CONNECTIONS, RECEIVE_TIMEOUT, AdminSite


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
        self.site = AdminSite(Router([route]), guard, self.clock)
        self.channel, self.transport = self.connect()
        self.channel.dataReceived(b"GET /stream HTTP/1.1\r\nHost: localhost:7\r\n\r\n")

    def connect(self) -> tuple[Any, Any]:
        channel: Any = self.site.buildProtocol(None)  # type: ignore[no-untyped-call]
        transport = Transport(  # type: ignore[no-untyped-call]
            hostAddress=_Address(), peerAddress=_Address()
        )
        channel.makeConnection(transport)
        return channel, transport

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
        for channel in list(self.site.channels):
            channel.connectionLost(Failure(ConnectionDone()))


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


def test_a_request_that_comes_byte_by_byte_is_cut(one: Streamed) -> None:
    channel, transport = one.connect()
    for _ in range(int(RECEIVE_TIMEOUT)):
        assert not transport.aborted
        channel.dataReceived(b"X")
        one.clock.advance(1)
    assert transport.aborted


def test_one_that_is_answered_late_is_not(one: Streamed) -> None:
    channel, transport = one.connect()
    for _ in range(3):
        channel.dataReceived(b"GET /nothing HTTP/1.1\r\nHost: ")
        one.clock.advance(RECEIVE_TIMEOUT - 1)
        channel.dataReceived(b"localhost:7\r\n\r\n")
    one.channel.dataReceived(b"GET /stream HTTP/1.1\r\n")  # waits behind what is answered
    one.clock.advance(RECEIVE_TIMEOUT)
    assert transport.value().count(b"HTTP/1.1 404 Not Found\r\n") == 3
    assert not transport.aborted
    assert not one.transport.aborted


def test_past_so_many_connections_a_newcomer_is_closed(one: Streamed) -> None:
    transports = [one.connect()[1] for _ in range(MAX_CONNECTIONS)]
    assert [transport.aborted for transport in transports] == [False] * 999 + [True]
    next(iter(one.site.channels)).connectionLost(Failure(ConnectionDone()))
    assert len(one.site.channels) == MAX_CONNECTIONS


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT"])
def test_the_host_is_looked_at_whatever_the_target(one: Streamed, method: bytes) -> None:
    channel, transport = one.connect()
    channel.dataReceived(method + b" * HTTP/1.1\r\nHost: evil\r\n\r\n")
    head = transport.value()
    assert head.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
    assert b"\r\nContent-Security-Policy: " in head
