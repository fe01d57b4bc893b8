"""However a client's bytes are cut, the instance gets the same, and so does the client."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sqsuper.testing import FakeWire
from tests.unit.gateway.support import ANSWER, UPSTREAM, Bench

HEAD = b"Host: h\r\nAuthorization: tok\r\n"
body = st.binary(max_size=60)


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    pieces = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
    extension = draw(st.sampled_from([b"", b";a", b' ; a = "b;\\""', b";a=b;c=d"]))
    trailer = draw(st.sampled_from([b"", b"X-T: v\r\n"]))
    data = b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces)
    return (
        b"POST /c HTTP/1.1\r\n"
        + HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + data
        + b"000"
        + extension
        + b"\r\n"
        + trailer
        + b"\r\n"
    )


requests = st.one_of(
    st.just(b"GET /a%zz?s=\xc3\xa9 HTTP/1.1\r\n" + HEAD + b"\r\n"),
    st.just(b"\r\nHEAD / HTTP/1.1\r\n" + HEAD + b"X-A: \xff\r\nx-a:\r\n\r\n"),
    st.just(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"),
    st.just(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
    st.just(b"GET /401 HTTP/1.1\r\nHost: h\r\n\r\n"),
    st.just(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nAuthorization: tok\r\n\r\n"),
    body.map(lambda b: b"POST /p HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % len(b) + b),
    chunked(),
)
ends = st.sampled_from(
    [b"", b"BAD\x00", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\n"]
)


def play(pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Return what instance and client got; the instance answers each whole request."""
    bench = Bench(Path("/nonexistent"))
    bench.instances.upstreams["alice"] = UPSTREAM
    client = bench.client()
    up: FakeWire | None = None

    def serve() -> None:
        nonlocal up
        while True:
            for attempt in bench.connector.undecided():
                assert up is None
                up = attempt.succeed()
            exchange = bench.clients[0]._exchange
            if exchange is None or exchange.state.name != "AWAITING":
                return
            assert up is not None
            answer = ANSWER if exchange.head.method != b"HEAD" else ANSWER[:-2]
            up.receive(answer)

    for piece in pieces:
        client.receive(piece)
        serve()
        client.settle()
    return bytes(up.sent) if up is not None else b"", bytes(client.sent)


@settings(max_examples=150, deadline=None)
@given(st.lists(requests, min_size=1, max_size=5), ends, st.data())
def test_any_split_gives_the_same(messages: list[bytes], end: bytes, data: st.DataObject) -> None:
    whole = b"".join(messages) + end
    expected = play([whole])
    assert expected[1].count(b"HTTP/1.1 ") == len(messages) + bool(end)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert play(pieces) == expected
    assert play([whole[i : i + 1] for i in range(len(whole))]) == expected
