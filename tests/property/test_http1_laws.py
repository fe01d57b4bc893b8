"""Laws of the HTTP parser: splits change nothing, bytes are kept, only refusals are raised."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from sqsuper.http1 import grammar
from sqsuper.http1.body import LAST_CHUNK, MAX_CHUNK_LINE, ChunkedBody, encode_chunk
from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import RequestHead, ResponseHead, parse_request_head, parse_response_head
from sqsuper.http1.progress import ChunkLineProgress, HeadProgress
from sqsuper.http1.reader import ResponseReader
from tests.unit.http1.feeding import feed, single_bytes
from tests.unit.http1.generated import (
    Valid,
    bodies,
    chunked,
    extensions,
    pieces,
    streams,
    valid_requests,
)

law = settings(deadline=None, max_examples=200)
LIMITS = {"max_head": 150, "max_body": 40}
STATUSES = {400, 405, 413, 414, 417, 431, 501, 505}


@law
@given(st.lists(valid_requests(), min_size=1, max_size=3), st.data())
def test_valid_requests_keep_their_bytes(requests: list[Valid], data: st.DataObject) -> None:
    whole = b"".join(each.data for each in requests)
    got, _ = feed(data.draw(pieces(whole)))
    assert got.refusal is None
    assert [(each.method, each.target, each.raw_fields, each.body) for each in got.requests] == [
        (each.method, each.target, each.fields, each.body) for each in requests
    ]


@law
@given(streams, st.data())
def test_how_an_input_is_split_changes_nothing(stream: bytes, data: st.DataObject) -> None:
    split = data.draw(pieces(stream))
    for limits in (LIMITS, {}):
        whole, _ = feed([stream], **limits)
        assert feed(split, **limits)[0] == whole
        assert feed(single_bytes(stream), **limits)[0] == whole
        assert whole.status is None or whole.status in STATUSES


@law
@given(streams)
def test_what_was_refused_stays_refused_whatever_follows(stream: bytes) -> None:
    got, fed = feed(single_bytes(stream))
    if got.refusal is not None:
        for rest in (b"", b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"):
            assert feed([stream[:fed] + rest])[0] == got
        # And the byte before was not yet certain: some continuation may still be right.
        assert feed([stream[: fed - 1]])[0].refusal is None


@law
@given(bodies, st.data())
def test_chunks_round_trip_under_any_split(body: bytes, data: st.DataObject) -> None:
    for encoded in (
        data.draw(chunked(body)),
        (encode_chunk(body) if body else b"") + LAST_CHUNK,
    ):
        reader = ChunkedBody(len(body), 65_536)
        buffer = bytearray()
        content = b""
        for piece in data.draw(pieces(encoded + b"rest")):
            buffer += piece
            content += reader.take(buffer)
        assert (content, bytes(buffer), reader.done) == (body, b"rest", True)


@law
@given(
    st.one_of(
        st.tuples(
            st.sampled_from([b"1", b"0aF"]), extensions(), st.sampled_from([b"", b" ", b";"])
        ).map(b"".join),
        st.lists(
            st.sampled_from(
                [b"1", b"f", b";", b"=", b'"', b"\\", b" ", b"\t", b"x", b"\xff", b"\0"]
            )
        ).map(b"".join),
    )
)
def test_table_and_pattern_agree_on_chunk_lines(line: bytes) -> None:
    progress = ChunkLineProgress()
    with contextlib.suppress(FramingError):
        progress.check(bytearray(line + b"\r\n"))
    assert progress.ended is (grammar.chunk_line.fullmatch(line) is not None)
    assert len(line) < MAX_CHUNK_LINE


@law
@given(streams)
def test_table_and_pattern_agree_on_heads(stream: bytes) -> None:
    head = (stream + b"\r\n\r\n").partition(b"\r\n\r\n")[0] + b"\r\n"
    progress = HeadProgress()
    with contextlib.suppress(FramingError):
        progress.check(bytearray(head + b"\r\n"), 65_536)
    line, _, block = head.partition(b"\r\n")
    right = grammar.request_line.fullmatch(line) and grammar.field_lines.fullmatch(block)
    assert progress.ended is bool(right)


@law
@given(st.one_of(streams, st.binary(max_size=200)))
def test_whole_heads_raise_nothing_but_refusals(data: bytes) -> None:
    for parse in (
        lambda: parse_request_head(data, max_body_bytes=10),
        lambda: parse_response_head(b"HTTP/1.1 200 OK\r\n" + data.partition(b"\r\n")[2]),
        lambda: parse_response_head(data),
    ):
        try:
            head = parse()
        except FramingError as error:
            assert error.status in STATUSES | {502}  # noqa: PT017
        else:
            assert isinstance(head, (RequestHead, ResponseHead))


@law
@given(streams, st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404\r\n", b""]), st.data())
def test_answers_are_read_alike_under_any_split(
    stream: bytes, start: bytes, data: st.DataObject
) -> None:
    whole = start + stream.partition(b"\r\n")[2]

    def read(split: list[bytes]) -> tuple[object, ...] | str | None:
        reader = ResponseReader(120)
        for at, piece in enumerate(split):
            reader.buffer += piece
            try:
                head = reader.head()
            except FramingError as error:
                return f"{error.status} {error.code}"
            if head is not None:
                facts = tuple(getattr(head, name) for name in ResponseHead.__slots__)
                return (*facts, bytes(reader.buffer) + b"".join(split[at + 1 :]))
        return None

    expected = read([whole])
    assert read(data.draw(pieces(whole))) == expected
    assert read(list(single_bytes(whole))) == expected
