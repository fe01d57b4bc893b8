"""Other parsers must not see another message boundary in what we accept.

`SQSUPER_FUZZ_EXAMPLES` sets how many inputs are tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs
import h11
import httptools
import pytest
from hypothesis import example, given, settings

from tests.unit.http1.feeding import Outcome, Request, feed
from tests.unit.http1.generated import streams

EXAMPLES = int(os.environ.get("SQSUPER_FUZZ_EXAMPLES", "500"))


@attrs.define
class Message:
    """One request as another parser sees it."""

    method: bytes = b""
    target: bytes = b""
    body: bytes = b""
    whole: bool = False


@attrs.define
class Reading:
    """Messages in order; `more`: the parser took all and waits for what follows."""

    messages: list[Message]
    more: bool


def read_with_h11(data: bytes) -> Reading:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    if data:  # no bytes would mean the end of the connection
        connection.receive_data(data)
    messages: list[Message] = []
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return Reading(messages, more=False)
        if event is h11.NEED_DATA:
            return Reading(messages, more=True)
        if event is h11.PAUSED:
            return Reading(messages, more=False)
        if isinstance(event, h11.Request):
            messages.append(Message(event.method, event.target))
        elif isinstance(event, h11.Data):
            messages[-1].body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            messages[-1].whole = True
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                return Reading(messages, more=False)
            connection.start_next_cycle()


class _Callbacks:
    """What httptools calls."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.messages.append(Message())

    def on_url(self, url: bytes) -> None:
        self.messages[-1].target += url

    def on_headers_complete(self) -> None:
        self.messages[-1].method = self.parser.get_method()

    def on_body(self, body: bytes) -> None:
        self.messages[-1].body += body

    def on_message_complete(self) -> None:
        self.messages[-1].whole = True


def read_with_httptools(data: bytes) -> Reading:
    callbacks = _Callbacks()
    more = True
    try:
        callbacks.parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        more = False
    # A message whose head has not ended has no method yet.
    return Reading([each for each in callbacks.messages if each.method], more)


def goes_on(request: Request) -> bool:
    """Whether every parser looks for a further request behind this one."""
    names = {name for name, _value, _line in request.fields}
    return request.keep_alive and b"upgrade" not in names and request.minor == 1


def check(ours: Outcome, theirs: Reading) -> int:
    """Compare message by message; return how many both read to the end."""
    compared = 0
    for index, request in enumerate(ours.requests):
        refused_here = request.body is None and ours.refusal is not None
        if index >= len(theirs.messages):
            # They may refuse what we take, but not wait for more where we saw an end.
            assert refused_here or not theirs.more or request.body is None
            break
        other = theirs.messages[index]
        if refused_here:
            break
        assert (other.method, other.target) == (request.method, request.target)
        if request.body is None:
            assert not other.whole
            break
        if not other.whole:
            assert not theirs.more
            break
        assert other.body == request.body
        compared += 1
        if not goes_on(request):
            break
    else:
        # We saw the end of the last: a further whole one must not be theirs alone.
        if ours.refusal is None:
            assert not any(each.whole for each in theirs.messages[len(ours.requests) :])
    return compared


READERS: list[Callable[[bytes], Reading]] = [read_with_h11, read_with_httptools]


LENGTH = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'1 ; a = "\\"x"\r\nx\r\n0\r\nX: y\r\n\r\n'
)
SIMPLE = b"GET /d?e HTTP/1.1\r\nHost: h\r\n\r\n"
fuzz = settings(deadline=None, max_examples=EXAMPLES)


# Two tests, as pytest-twisted would wrap a property once more for each parameter.


@fuzz
@given(streams)
@example(LENGTH + SIMPLE)
@example(CHUNKED + SIMPLE)
def test_no_other_boundary_for_h11(stream: bytes) -> None:
    check(feed([stream])[0], read_with_h11(stream))


@fuzz
@given(streams)
@example(LENGTH + SIMPLE)
@example(CHUNKED + SIMPLE)
def test_no_other_boundary_for_httptools(stream: bytes) -> None:
    check(feed([stream])[0], read_with_httptools(stream))


@pytest.mark.parametrize("read", READERS)
def test_the_comparison_compares(read: Callable[[bytes], Reading]) -> None:
    stream = LENGTH + CHUNKED.replace(b' ; a = "\\"x"', b"") + SIMPLE
    assert check(feed([stream])[0], read(stream)) == 3
    # A reader that took one byte less for the body would be found out.
    with pytest.raises(AssertionError):
        check(feed([stream])[0], read(stream.replace(b"Length: 3", b"Length: 2")))
    with pytest.raises(AssertionError):
        check(feed([stream])[0], read(stream.replace(b"1\r\nx\r\n", b"")))
