"""What is known of a head changes no answer, only what it costs."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.gateway.answer import AnswerStream
from sqsuper.gateway.memo import AdmittedHead, KnownAnswers, KnownRequests
from sqsuper.http1.credentials import Grant, digest
from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import RequestHead, parse_request_head
from sqsuper.testing import FakeWire
from tests.unit.gateway.support import ANSWER, LIMITS, UPSTREAM, Bench, head_of

LINES = b"Host: h\r\nAuthorization: Bearer tok\r\n"
GRANT = Grant("alice")


def parse(raw: bytes, known: KnownRequests | None = None) -> RequestHead:
    return parse_request_head(
        raw,
        max_body_bytes=LIMITS.max_body_bytes,
        known=None if known is None else known.heads,
    )


def facts(head: RequestHead) -> list[object]:
    names = RequestHead.__slots__
    return [getattr(head, name) for name in names]


@attrs.define
class Gate(Bench):
    """A gateway whose tokens and time a test sets."""

    grants: dict[bytes, Grant] = attrs.field(factory=lambda: {digest(b"tok"): GRANT})
    time: float = 0.0

    def lookup(self, sha256: bytes) -> Grant | None:
        return self.grants.get(sha256)

    def now(self) -> float:
        return self.time


@pytest.fixture
def bench(tmp_path: Path) -> Gate:
    gate = Gate(tmp_path)
    gate.instances.upstreams["alice"] = UPSTREAM
    return gate


def ask(bench: Gate, raw: bytes, answer: bytes = ANSWER) -> tuple[bytes, bytes]:
    """Send a request on a new connection; return what the instance got and the client's answer."""
    client = bench.client()
    before = len(bench.connector.attempts)
    idle = [c.wire for c in bench.alice._idle]
    marks = [len(w.sent) for w in idle if isinstance(w, FakeWire)]
    client.receive(raw)
    attempts = bench.connector.attempts[before:]
    if attempts and attempts[-1].open:
        upstream = attempts[-1].succeed()
        got = bytes(upstream.sent)
    else:
        used = [w for w, m in zip(idle, marks, strict=True) if len(w.sent) > m]  # type: ignore[attr-defined]
        if not used:
            return b"", bytes(client.sent)
        upstream = used[0]  # type: ignore[assignment]
        got = bytes(upstream.sent[marks[idle.index(upstream)] :])
    upstream.receive(answer)
    return got, bytes(client.sent)


REPEATED = [
    b"GET /a?x=1 HTTP/1.1\r\n" + LINES + b"\r\n",
    b"POST /a HTTP/1.1\r\n" + LINES + b"\r\n",
    b"HEAD /a HTTP/1.1\r\n" + LINES + b"\r\n",
    b"POST /a HTTP/1.1\r\n" + LINES + b"Content-Length: 3\r\n\r\nabc",
    b"GET /a HTTP/1.1\r\n" + LINES + b"Connection: Keep-Alive\r\n\r\n",
    b"GET /a HTTP/1.1\r\n" + LINES + b"Connection: keep-alive, CLOSE\r\n\r\n",
    b"GET /a HTTP/1.1\r\nhOST:  h \r\nx-sq-api-key:\ttok\r\nx: \x80\r\nX: b\r\n\r\n",
    b"GET /api/v2/reload HTTP/1.1\r\n" + LINES + b"\r\n",
    b"GET /api/v2/%72eload?x HTTP/1.1\r\n" + LINES + b"\r\n",
    b"GET /admin HTTP/1.1\r\n" + LINES + b"\r\n",
    b"GET /health HTTP/1.1\r\n" + LINES + b"\r\n",
    b"OPTIONS /a HTTP/1.1\r\n" + LINES + b"\r\n",
]


@pytest.mark.parametrize("raw", REPEATED)
def test_the_same_request_again_has_the_same_outcome(bench: Gate, raw: bytes) -> None:
    # Any request with these lines makes them known.
    block = raw.split(b"\r\n", 1)[1].partition(b"\r\n\r\n")[0]
    body = raw.partition(b"\r\n\r\n")[2]
    first = ask(bench, raw)
    ask(bench, b"POST /other HTTP/1.1\r\n" + block + b"\r\n\r\n" + body)
    assert len(bench.known_requests.heads) == 1
    assert ask(bench, raw) == first
    assert first[1]


@pytest.mark.parametrize(
    "line",
    [
        b"PUT /a HTTP/1.1",
        b"GET a HTTP/1.1",
        b"GET  /a HTTP/1.1",
        b"GET /a HTTP/1.2",
        b"GET /a HTTP/1.0",
        b"GET /a http/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET /a",
        b"",
    ],
)
def test_the_request_line_is_checked_each_time(bench: Gate, line: bytes) -> None:
    raw = line + b"\r\n" + LINES + b"\r\n"
    unknown = ask(bench, raw)
    bench.known_requests.clear()
    ask(bench, b"GET /a HTTP/1.1\r\n" + LINES + b"\r\n")
    assert ask(bench, raw) == unknown


@given(line=st.binary(max_size=30) | st.from_regex(rb"[A-Z]{3,7} /?\S{0,5} HTTP/1\.[01]"))
def test_a_known_head_is_the_head_that_would_be_parsed(line: bytes) -> None:
    known = KnownRequests()
    known.keep(parse(b"GET / HTTP/1.1\r\n" + LINES), GRANT)
    raw = line + b"\r\n" + LINES
    try:
        expected: object = facts(parse(raw))
    except FramingError as error:
        expected = (error.status, error.code, error.reason)
    try:
        found: object = facts(parse(raw, known))
    except FramingError as error:
        found = (error.status, error.code, error.reason)
    assert found == expected


def test_other_lines_are_another_head() -> None:
    known = KnownRequests()
    for length in (b"1", b"22"):
        known.keep(
            parse(b"POST / HTTP/1.1\r\n" + LINES + b"Content-Length: %b\r\n" % length), GRANT
        )
    heads = [
        parse(b"POST / HTTP/1.1\r\n" + LINES + b"Content-Length: %b\r\n" % length, known)
        for length in (b"1", b"22")
    ]
    assert [head.content_length for head in heads] == [1, 22]
    assert all(type(head) is AdmittedHead for head in heads)
    other = parse(b"POST / HTTP/1.1\r\n" + LINES + b"Content-Length: 3\r\n", known)
    assert (type(other), other.content_length) == (RequestHead, 3)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.0\r\n" + LINES,
        b"GET / HTTP/1.1\r\n" + LINES + b"Connection: keep-alive, x-a\r\nX-A: b\r\n",
        b"GET / HTTP/1.1\r\n" + LINES + b"Keep-Alive: timeout=5\r\n",
        b"POST / HTTP/1.1\r\n" + LINES + b"Expect: 100-continue\r\nContent-Length: 1\r\n",
        b"POST / HTTP/1.1\r\n" + LINES + b"Transfer-Encoding: chunked\r\n",
        b"GET / HTTP/1.1\r\n" + LINES + b"Upgrade: h2c\r\n",
        b"GET / HTTP/1.1\r\n" + LINES + b"HTTP2-Settings: x\r\n",
        b"GET / HTTP/1.1\r\n" + LINES + b"TE: trailers\r\n",
        b"GET / HTTP/1.1\r\n" + LINES + b"X-Request-ID: one\r\n",
        b"GET / HTTP/1.1\r\n" + LINES + b"X-SQ-API-Key: other\r\n",
        b"GET / HTTP/1.1\r\n" + LINES + b"X: " + b"y" * 2048 + b"\r\n",
    ],
)
def test_what_is_never_kept(raw: bytes) -> None:
    known = KnownRequests()
    known.keep(parse(raw), GRANT)
    assert known.heads == {}


def test_only_what_was_admitted_is_kept(bench: Gate) -> None:
    for _ in range(2):
        _, answer = ask(bench, b"GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer no\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 401 ")
    ask(bench, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
    assert bench.known_requests.heads == {}


def test_a_revoked_token_is_revoked_at_once(bench: Gate) -> None:
    raw = b"GET /a HTTP/1.1\r\n" + LINES + b"\r\n"
    client = bench.client()
    client.receive(raw)
    bench.connector.attempts[-1].succeed().receive(ANSWER)
    assert client.sent.startswith(b"HTTP/1.1 200 ")
    bench.grants.clear()
    bench.known_requests.clear()
    client.sent.clear()
    client.receive(raw)  # on the connection that knew it
    assert client.sent.startswith(b"HTTP/1.1 401 ")


def test_a_token_expires_while_its_lines_are_known(bench: Gate) -> None:
    raw = b"GET /a HTTP/1.1\r\n" + LINES + b"\r\n"
    bench.grants[digest(b"tok")] = Grant("alice", not_before=5.0, expires=10.0)
    bench.time = 9.9
    assert ask(bench, raw)[1].startswith(b"HTTP/1.1 200 ")
    assert ask(bench, raw)[1].startswith(b"HTTP/1.1 200 ")
    bench.time = 10.0
    assert ask(bench, raw)[1].startswith(b"HTTP/1.1 401 ")
    bench.time = 4.9
    assert ask(bench, raw)[1].startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("grant", "code"),
    [(Grant("alice", read_only=True), b"read_only"), (Grant("alice", enabled=False), b"disabled")],
)
def test_scope_holds_for_known_lines(bench: Gate, grant: Grant, code: bytes) -> None:
    bench.grants[digest(b"tok")] = grant
    raw = b"GET /api/v2/update?p=x HTTP/1.1\r\n" + LINES + b"\r\n"
    first = ask(bench, raw)
    assert bench.known_requests.heads
    assert ask(bench, raw) == first
    assert first[1].startswith(b"HTTP/1.1 403 ")
    assert b"X-SQ-Code: %b\r\n" % code in first[1]


def test_there_are_only_so_many() -> None:
    known = KnownRequests(max_entries=2)
    for name in (b"1", b"2", b"3"):
        known.keep(parse(b"GET / HTTP/1.1\r\n" + LINES + b"X: %b\r\n" % name), GRANT)
    assert [block[-3:-2] for block in known.heads] == [b"2", b"3"]


# Answers

GET = head_of(b"GET /a HTTP/1.1\nHost: h")
HEAD = head_of(b"HEAD /a HTTP/1.1\nHost: h")
OLD = head_of(b"GET /a HTTP/1.0")

KEPT = [
    ANSWER,
    ANSWER.replace(b"2\r\n\r\nok", b"0\r\n\r\n"),
    ANSWER.replace(b"Connection: keep-alive\r\n", b""),
    ANSWER.replace(b"200 OK", b"404 "),
    ANSWER.replace(
        b"Content", b"ETag: x\r\nX-A: 1\r\nX-A: 2\r\nAccess-Control-Allow-Origin: y\r\nContent"
    ),
]
NOT_KEPT = [
    b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nok",
    b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER,
    ANSWER.replace(b"Content", b"X: " + b"y" * 2048 + b"\r\nContent"),
]


def outcome(
    request: RequestHead, pieces: list[bytes], known: KnownAnswers
) -> tuple[bytes, bool, bool, bool]:
    stream = AnswerStream(request, b"id", known)
    out = b""
    for piece in pieces:
        # An exchange gives nothing more to an answer that is over.
        if not stream.done:
            out += stream.received(piece, lambda: True)
    return out, stream.done, stream.reusable, stream.keep_client


@pytest.mark.parametrize("more", [b"", b"x", ANSWER])
@pytest.mark.parametrize("request_head", [GET, HEAD, OLD], ids=["GET", "HEAD", "1.0"])
@pytest.mark.parametrize("answer", KEPT + NOT_KEPT)
def test_a_known_answer_passes_as_an_unknown_one(
    answer: bytes, request_head: RequestHead, more: bytes
) -> None:
    known = KnownAnswers()
    outcome(GET, [answer], known)
    whole = answer + more
    for cut in range(len(whole)) if len(whole) < 1000 else (5,):
        pieces = [piece for piece in (whole[:cut], whole[cut:]) if piece]
        expected = outcome(request_head, pieces, KnownAnswers())
        assert outcome(request_head, pieces, known) == expected


@pytest.mark.parametrize("answer", [b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"])
def test_what_is_refused_stays_refused(answer: bytes) -> None:
    known = KnownAnswers()
    for _ in range(2):
        with pytest.raises(FramingError):
            outcome(GET, [answer], known)


def test_the_connection_line_is_not_part_of_what_is_known() -> None:
    known = KnownAnswers()
    kept, *_ = outcome(GET, [ANSWER], known)
    stream = AnswerStream(GET, b"other", known)
    closed = stream.received(ANSWER, lambda: False)
    assert b"Connection: close\r\n" in closed
    assert b"Connection" not in kept
    assert b"X-Request-ID: other\r\n" in closed


def test_only_so_many_answers_are_known() -> None:
    known = KnownAnswers(max_entries=2)
    answers = [ANSWER.replace(b"Content", b"ETag: %d\r\nContent" % n) for n in range(3)]
    for answer in answers:
        outcome(GET, [answer], known)
    heads = [answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for answer in answers]
    assert [known.find(head) is not None for head in heads] == [False, True, True]
