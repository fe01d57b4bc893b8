"""However a stream of requests is cut on its way, the same answers come, and none is lost."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.test_exchange import AUTH, Peer, request

WHERE = b"?p=t&c=1.1.1/1.1.1/1.1.%d"
CHUNKED = AUTH + b"Transfer-Encoding: chunked\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    where = WHERE % draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["update", "insert", "chunked", "select", "get", "nope", "bad"]))
    text = draw(st.sampled_from([b"", b"a", b"line\r\n\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"]))
    if kind in ("update", "insert"):
        return request(b"POST", b"/api/v2/" + kind.encode() + where, text)
    if kind == "chunked":
        chunk = b"%x\r\n%b\r\n" % (len(text), text) if text else b""
        return request(b"POST", b"/api/v2/update" + where, fields=CHUNKED) + chunk + b"0\r\n\r\n"
    if kind == "select":
        return request(b"GET", b"/api/v2/select" + where)
    if kind == "get":
        return request(b"HEAD", b"/api/v2/get?p=t") + request(b"GET", b"/api/v2/get?p=t")
    if kind == "nope":
        return request(b"GET", b"/api/v2/nope")
    return request(b"POST", b"/api/v2/update" + where, b"\xff")


def answers(pieces: list[bytes]) -> bytes:
    with tempfile.TemporaryDirectory() as data:
        peer = Peer(Path(data))
        try:
            got = b""
            for piece in pieces:
                peer.send(piece)
                peer.loop.turn(0)
            got += peer.receive()
            assert peer.exchange.idle
            return got
        finally:
            peer.close()


@given(st.lists(requests(), min_size=1, max_size=12), st.data())
@settings(max_examples=60, deadline=None)
def test_cuts_change_nothing(stream: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(stream)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=20).map(sorted))
    edges = [0, *cuts, len(whole)]
    pieces = [whole[start:end] for start, end in itertools.pairwise(edges)]
    assert answers([piece for piece in pieces if piece]) == answers(stream)
