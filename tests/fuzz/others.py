"""Requests and answers as other parsers read them, and as we do."""

from __future__ import annotations

from typing import Any

import attrs
import h11
import httptools

from sqsuper.http1.body import ChunkedBody, EndlessBody, LengthBody
from sqsuper.http1.errors import FramingError
from sqsuper.http1.reader import ResponseReader
from tests.unit.http1.feeding import feed


@attrs.define
class Message:
    """One request or answer. `first`: method and target, or the status."""

    first: tuple[bytes, ...] = ()
    body: bytes = b""
    whole: bool = False
    goes_on: bool = True
    """Whether every parser looks for a further message behind this one."""
    disputed: bool = False
    """Whether its body is read otherwise by a parser that is known to err there."""


@attrs.define
class Reading:
    """Messages in order; `more`: the parser took all and waits for what follows."""

    messages: list[Message]
    more: bool


# Requests


def our_requests(data: bytes) -> Reading:
    """Read as the gateway and the engine do."""
    outcome, _ = feed([data])
    messages = []
    for request in outcome.requests:
        names = {name for name, _value, _line in request.fields}
        messages.append(
            Message(
                (request.method, request.target),
                request.body or b"",
                request.body is not None,
                request.keep_alive and b"upgrade" not in names and request.minor == 1,
            )
        )
    return Reading(messages, outcome.refusal is None)


def _next_of(connection: h11.Connection) -> Any:
    """Return h11's next event, or whether it waits for more bytes when there is none."""
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return False
    if event is h11.NEED_DATA:
        return True
    return False if event is h11.PAUSED else event


def requests_by_h11(data: bytes) -> Reading:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    if data:  # no bytes would mean the end of the connection
        connection.receive_data(data)
    messages: list[Message] = []
    while True:
        event = _next_of(connection)
        if isinstance(event, bool):
            return Reading(messages, more=event)
        if isinstance(event, h11.Request):
            messages.append(Message((event.method, event.target)))
        elif isinstance(event, h11.Data):
            messages[-1].body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            messages[-1].whole = True
            # With 200 a CONNECT would become another protocol.
            connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                return Reading(messages, more=False)
            connection.start_next_cycle()


class _Callbacks:
    """What httptools calls."""

    def __init__(self, kind: type[Any]) -> None:
        self.messages: list[Message] = []
        self.url = b""
        self.parser = kind(self)

    def on_message_begin(self) -> None:
        self.messages.append(Message())
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_headers_complete(self) -> None:
        parser = self.parser
        if isinstance(parser, httptools.HttpRequestParser):
            self.messages[-1].first = (parser.get_method(), self.url)
        else:
            self.messages[-1].first = (b"%d" % parser.get_status_code(),)

    def on_body(self, body: bytes) -> None:
        self.messages[-1].body += body

    def on_message_complete(self) -> None:
        self.messages[-1].whole = True

    def read(self, data: bytes) -> Reading:
        more = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            more = False
        # One whose head has not ended is none yet.
        return Reading([each for each in self.messages if each.first], more)


def requests_by_httptools(data: bytes) -> Reading:
    return _Callbacks(httptools.HttpRequestParser).read(data)


# Answers, each to a GET of its own on one connection


def our_answers(data: bytes) -> Reading:
    """Read as the gateway does what an instance sends; an interim answer is one, too."""
    reader = ResponseReader()
    reader.buffer += data
    messages: list[Message] = []
    try:
        while (head := reader.head()) is not None:
            message = Message((b"%d" % head.status,))
            names = {name for name, _value, _line in head.fields}
            closing = any(
                b"close" in value.lower()
                for name, value, _line in head.fields
                if name == b"connection"
            )
            message.goes_on = head.minor == 1 and not closing and b"upgrade" not in names
            # RFC 9110 5.6.3: tabs around a value are no part of it; for llhttp those behind are.
            message.disputed = any(
                b"\t" in line for name, _value, line in head.fields if name == b"transfer-encoding"
            )
            messages.append(message)
            content: LengthBody | ChunkedBody | EndlessBody
            if head.status < 200 or head.status in (204, 304):
                content = LengthBody(0)
                # RFC 9112 6.3: without a body in any case. llhttp reads one that is announced.
                message.disputed |= head.chunked or bool(head.content_length)
            elif head.chunked:
                content = ChunkedBody(None, 65_536)
            elif head.content_length is not None:
                content = LengthBody(head.content_length)
            else:
                content = EndlessBody()
            message.body = content.take(reader.buffer)
            message.whole = content.done
            if not content.done:
                break
    except FramingError:
        return Reading(messages, more=False)
    return Reading(messages, more=True)


def answers_by_h11(data: bytes) -> Reading:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    ask = h11.Request(method="GET", target="/", headers=[("Host", "h")])
    connection.send(ask)
    connection.send(h11.EndOfMessage())
    if data:
        connection.receive_data(data)
    messages: list[Message] = []
    while True:
        event = _next_of(connection)
        if isinstance(event, bool):
            return Reading(messages, more=event)
        if isinstance(event, h11.InformationalResponse):
            messages.append(Message((b"%d" % event.status_code,), whole=True))
        elif isinstance(event, h11.Response):
            messages.append(Message((b"%d" % event.status_code,)))
        elif isinstance(event, h11.Data):
            messages[-1].body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            messages[-1].whole = True
            if connection.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                return Reading(messages, more=False)
            connection.start_next_cycle()
            connection.send(ask)
            connection.send(h11.EndOfMessage())


def answers_by_httptools(data: bytes) -> Reading:
    return _Callbacks(httptools.HttpResponseParser).read(data)


# The comparison


def compare(ours: Reading, theirs: Reading) -> int:
    """Fail where a boundary of a message that we accept is elsewhere for them.

    They may refuse what we take. Returns how many messages both read to the end.
    """
    both = 0
    for index, message in enumerate(ours.messages):
        refused_here = not message.whole and not ours.more
        if index >= len(theirs.messages):
            # They may refuse it, but not wait for more where we saw an end.
            assert refused_here or not theirs.more or not message.whole
            break
        if refused_here:
            break
        other = theirs.messages[index]
        assert other.first == message.first
        if message.disputed:
            break
        if not message.whole:
            assert not other.whole
            assert other.body.startswith(message.body) or message.body.startswith(other.body)
            break
        if not other.whole:
            assert not theirs.more
            break
        assert other.body == message.body
        both += 1
        if not message.goes_on:
            break
    else:
        # We saw the end of the last: a further whole one must not be theirs alone.
        if ours.more:
            assert not any(each.whole for each in theirs.messages[len(ours.messages) :])
    return both
