"""Hypothesis strategies: valid requests, and streams of bytes that are nearly valid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import attrs
from hypothesis import strategies as st

TCHARS = "!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz"
TARGET_BYTES = bytes(sorted(({*range(0x21, 0x7F)} - {0x23}) | {*range(0x80, 0x100)}))
VALUE_BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
# Names that decide something are added on purpose, never by chance.
DECISIVE = {"host", "content-length", "transfer-encoding", "connection", "expect"}


def some_of(alphabet: bytes, *, max_size: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(alphabet), max_size=max_size).map(bytes)


tokens = st.text(TCHARS, min_size=1, max_size=8).map(str.encode)
names = tokens.filter(lambda name: name.decode().lower() not in DECISIVE)
blanks = st.text(" \t", max_size=2).map(str.encode)
bodies = st.binary(max_size=60)


@st.composite
def field_lines(draw: st.DrawFn) -> bytes:
    value = draw(some_of(VALUE_BYTES, max_size=12))
    return draw(names) + b":" + draw(blanks) + value + draw(blanks) + b"\r\n"


@st.composite
def extensions(draw: st.DrawFn) -> bytes:
    result = b""
    for _ in range(draw(st.integers(0, 3))):
        result += draw(blanks) + b";" + draw(blanks) + draw(tokens)
        if draw(st.booleans()):
            quoted = b'"' + b"".join(
                draw(
                    st.lists(
                        st.sampled_from(VALUE_BYTES).map(
                            lambda value: (b"\\" if value in b'"\\' else b"") + bytes((value,))
                        ),
                        max_size=6,
                    )
                )
            )
            value = draw(st.one_of(tokens, st.just(quoted + b'"')))
            result += draw(blanks) + b"=" + draw(blanks) + value
    return result


@st.composite
def chunked(draw: st.DrawFn, content: bytes) -> bytes:
    """Give an encoding of `content`: any chunks, extensions, zeros, case, and trailers."""
    result = b""
    rest = content
    while rest:
        size = draw(st.integers(1, len(rest)))
        digits = draw(st.sampled_from([b"%x", b"%X", b"%04x", b"%016X"])) % size
        result += digits + draw(extensions()) + b"\r\n" + rest[:size] + b"\r\n"
        rest = rest[size:]
    zeros = draw(st.sampled_from([b"0", b"000", b"0" * 16]))
    trailers = draw(st.lists(harmless, max_size=2))
    return result + zeros + draw(extensions()) + b"\r\n" + b"".join(trailers) + b"\r\n"


NOT_IN_TRAILERS = {
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
}
harmless = field_lines().filter(
    lambda line: line.partition(b":")[0].decode().lower() not in NOT_IN_TRAILERS
)


@attrs.frozen
class Valid:
    """A valid request: its bytes, and what it must be read as."""

    data: bytes
    method: bytes
    target: bytes
    fields: bytes
    body: bytes


@st.composite
def valid_requests(draw: st.DrawFn) -> Valid:
    method = draw(st.sampled_from([b"GET", b"POST", b"DELETE", b"HEAD", b"OPTIONS"]))
    target = b"/" + draw(some_of(TARGET_BYTES, max_size=20))
    minor = draw(st.sampled_from([b"1", b"0"]))
    lines = draw(st.lists(field_lines(), max_size=4))
    body = draw(bodies)
    framing = draw(
        st.sampled_from(["none", "length", "chunked"] if minor == b"1" else ["none", "length"])
    )
    sent = b""
    if framing == "none":
        body = b""
    elif framing == "length":
        sent = body
        lines.append(
            draw(st.sampled_from([b"Content-Length: %d\r\n", b"content-length:%d \r\n"]))
            % len(body)
        )
    else:
        sent = draw(chunked(body))
        lines.append(b"Transfer-Encoding: %b\r\n" % draw(st.sampled_from([b"chunked", b"CHUNKED"])))
    if minor == b"1" or draw(st.booleans()):
        lines.append(b"Host: h\r\n")
    fields = b"".join(draw(st.permutations(lines)))
    before = draw(st.sampled_from([b"", b"", b"\r\n"]))
    start = method + b" " + target + b" HTTP/1." + minor + b"\r\n"
    return Valid(before + start + fields + b"\r\n" + sent, method, target, fields, body)


# What attackers try, to be put together at random.
FRAGMENTS: Sequence[bytes] = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a HTTP/1.1\r\n",
    b"POST /b HTTP/1.0\r\n",
    b"HEAD /c HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"PUT / HTTP/1.1\r\n",
    b"GET http://h/ HTTP/1.1\r\n",
    b"GET / HTTP/2.0\r\n",
    b"GET /\r\n",
    b"Host: h\r\n",
    b"Host: [::1]:80\r\n",
    b"Host: a b\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 05\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\tchunked \r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"TE: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: Content-Length\r\n",
    b"Connection: Upgrade\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: x\r\n",
    b"X: y\r\n",
    b"X:\r\n",
    b" folded\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n",
    b"5\r\nabcde\r\n",
    b"3\r\nabc",
    b"0\r\n",
    b"3;a=b\r\nabc\r\n",
    b'3 ; a = "\\"x"\r\nabc\r\n',
    b"3;\r\nabc\r\n",
    b"3 \r\nabc\r\n",
    b"0x3\r\nabc\r\n",
    b"-1\r\n",
    b"00000000000000003\r\n",
    b"ffffffffffffffff\r\n",
    b"abc",
    b"abcde",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b"#",
    b'"',
    b"\xff",
]
_EDITS = st.tuples(
    st.floats(0, 1, allow_nan=False),
    st.integers(0, 3),
    st.sampled_from(
        [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b";", b",", b"0", b"x", b"\xff"]
    ),
)


@st.composite
def edited_requests(draw: st.DrawFn) -> bytes:
    """Give a few valid requests with up to two small edits."""
    data = b"".join(each.data for each in draw(st.lists(valid_requests(), min_size=1, max_size=3)))
    for place, removed, put in draw(st.lists(_EDITS, max_size=2)):
        at = int(place * len(data))
        data = data[:at] + put + data[at + removed :]
    return data


@st.composite
def patched_requests(draw: st.DrawFn) -> bytes:
    """Give heads made of whole lines that may contradict each other, and what may be a body."""
    result = b""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.sampled_from(FRAGMENTS[:9]))
        lines = draw(st.lists(st.sampled_from(FRAGMENTS[9:36]), max_size=4, unique=True))
        rest = draw(st.lists(st.sampled_from(FRAGMENTS[36:53]), max_size=4))
        host = b"Host: h\r\n" if draw(st.booleans()) else b""
        result += start + host + b"".join(lines) + b"\r\n" + b"".join(rest)
    return result


mixtures = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(b"".join)
streams = st.one_of(edited_requests(), patched_requests(), mixtures, st.binary(max_size=80))


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Give `data` in any pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    bounds = [0, *cuts, len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


# Answers of an instance, in the same way.
ANSWER_FRAGMENTS: Sequence[bytes] = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200\r\n",
    b"HTTP/1.1 200 \r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n",
    b"HTTP/1.1 103 Early Hints\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"HTTP/1.1 500 x\r\n",
    b"HTTP/1.1 0200 OK\r\n",
    b"HTTP/2 200\r\n",
]


@st.composite
def patched_answers(draw: st.DrawFn) -> bytes:
    """Give answers made of whole lines that may contradict each other, and what may be a body."""
    result = b""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.sampled_from(ANSWER_FRAGMENTS))
        lines = draw(st.lists(st.sampled_from(FRAGMENTS[12:36]), max_size=3, unique=True))
        rest = draw(st.lists(st.sampled_from(FRAGMENTS[36:53]), max_size=4))
        result += start + b"".join(lines) + b"\r\n" + b"".join(rest)
    return result


@st.composite
def valid_answers(draw: st.DrawFn) -> bytes:
    start = draw(st.sampled_from(ANSWER_FRAGMENTS[:9]))
    lines = draw(st.lists(field_lines(), max_size=3))
    body = draw(bodies)
    if draw(st.booleans()):
        lines.append(b"Content-Length: %d\r\n" % len(body))
        sent = body
    else:
        lines.append(b"Transfer-Encoding: chunked\r\n")
        sent = draw(chunked(body))
    return start + b"".join(draw(st.permutations(lines))) + b"\r\n" + sent


@st.composite
def edited_answers(draw: st.DrawFn) -> bytes:
    """Give a few valid answers with up to two small edits."""
    data = b"".join(draw(st.lists(valid_answers(), min_size=1, max_size=3)))
    for place, removed, put in draw(st.lists(_EDITS, max_size=2)):
        at = int(place * len(data))
        data = data[:at] + put + data[at + removed :]
    return data


answer_streams = st.one_of(
    edited_answers(),
    patched_answers(),
    st.lists(st.sampled_from([*ANSWER_FRAGMENTS, *FRAGMENTS]), max_size=12).map(b"".join),
    st.binary(max_size=80),
)
