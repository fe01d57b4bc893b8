from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.gateway.answer import AnswerStream
from sqsuper.http1.errors import FramingError
from tests.unit.gateway.support import head_of

GET = head_of(b"GET / HTTP/1.1\nHost: h")
GET_10 = head_of(b"GET / HTTP/1.0")
HEAD = head_of(b"HEAD / HTTP/1.1\nHost: h")
OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "length": OK + b"Content-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
    "empty": OK + b"Content-Length: 0\r\nConnection: keep-alive\r\n\r\n",
    "chunked": OK
    + b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
    + b"2;a=b\r\nhe\r\n003\r\nllo\r\n0\r\nX-T: v\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n"
    + OK
    + b"Content-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
    "no content": b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
}


def yes() -> bool:
    return True


def relayed(stream: AnswerStream, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Return head and body (its chunks undone) that the client got."""
    got = b"".join(stream.received(piece, yes) for piece in pieces)
    head, _, body = got.partition(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" in head:
        content = b""
        while body:
            line, _, body = body.partition(b"\r\n")
            size = int(line, 16)
            content, body = content + body[:size], body[size + 2 :]
        body = content
    return head, body


@pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("request_head", [GET, GET_10])
def test_every_split_gives_the_same(raw: bytes, request_head: object) -> None:
    whole = AnswerStream(request_head, b"id")  # type: ignore[arg-type]
    expected = relayed(whole, [raw])
    assert whole.done
    assert whole.reusable
    for at in range(1, len(raw)):
        stream = AnswerStream(request_head, b"id")  # type: ignore[arg-type]
        assert relayed(stream, [raw[:at], raw[at:]]) == expected
        assert stream.done
        assert stream.reusable
    stream = AnswerStream(request_head, b"id")  # type: ignore[arg-type]
    assert relayed(stream, [raw[i : i + 1] for i in range(len(raw))]) == expected


@given(raw=st.sampled_from(list(ANSWERS.values())), cut=st.integers(min_value=0))
def test_no_cut_answer_ends(raw: bytes, cut: int) -> None:
    stream = AnswerStream(GET, b"id")
    stream.received(raw[: cut % len(raw)], yes)
    assert not stream.done
    with pytest.raises(FramingError):
        stream.ended()
    assert not stream.done


@pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS)
def test_what_follows_an_answer_is_not_passed_on(raw: bytes) -> None:
    stream = AnswerStream(GET, b"id")
    expected = relayed(AnswerStream(GET, b"id"), [raw])
    assert relayed(stream, [raw + b"HTTP/1.1 200 OK"]) == expected
    assert not stream.reusable


def test_an_answer_to_the_end_of_the_connection() -> None:
    stream = AnswerStream(GET, b"id")
    got = stream.received(OK + b"\r\nhello", yes) + stream.received(b" world", yes)
    assert not stream.done
    got += stream.ended()
    assert got.endswith(b"\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    assert stream.done
    assert stream.keep_client
    assert not stream.reusable


@pytest.mark.parametrize("may_keep", [True, False])
@pytest.mark.parametrize(
    ("head", "keeps"), [(GET, True), (GET_10, False), (HEAD, True)], ids=["1.1", "1.0", "HEAD"]
)
def test_the_client_is_told_whether_its_connection_goes_on(
    head: object, keeps: bool, may_keep: bool
) -> None:
    stream = AnswerStream(head, b"id")  # type: ignore[arg-type]
    got = stream.received(ANSWERS["length"], lambda: may_keep)
    assert stream.keep_client == (keeps and may_keep)
    assert (b"Connection: close" in got) == (not stream.keep_client)


def test_the_limit_of_an_answers_head_is_not_the_clients() -> None:
    stream = AnswerStream(GET, b"id")
    field = b"X-A: " + b"a" * 60_000 + b"\r\n"
    got = stream.received(OK + field + b"Content-Length: 0\r\n\r\n", yes)
    assert field in got
    with pytest.raises(FramingError):
        AnswerStream(GET, b"id").received(OK + b"X-A: " + b"a" * 65_536, yes)


def test_the_pieces_of_a_long_body_are_passed_on_uncopied() -> None:
    stream = AnswerStream(GET, b"id")
    stream.received(OK + b"Content-Length: 9\r\nConnection: keep-alive\r\n\r\n123", yes)
    for piece in (b"45", b"6789"):
        assert not stream.done
        assert stream.received(piece, yes) is piece
    assert stream.done
    assert stream.reusable


def test_what_follows_a_long_body_is_not_passed_on_with_it() -> None:
    stream = AnswerStream(GET, b"id")
    stream.received(OK + b"Content-Length: 9\r\nConnection: keep-alive\r\n\r\n123", yes)
    assert stream.received(b"4567890", yes) == b"456789"
    assert stream.done
    assert not stream.reusable
