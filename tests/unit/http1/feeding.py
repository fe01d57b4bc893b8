"""Drives the readers as a connection's owner does, with the input in any pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from sqsuper.http1.body import ChunkedBody, LengthBody
from sqsuper.http1.errors import FramingError
from sqsuper.http1.head import RequestHead
from sqsuper.http1.reader import (
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_MAX_HEAD_BYTES,
    RequestReader,
)

# Inputs up to this length are also fed in every two parts.
SHORT = 400


@attrs.frozen
class Request:
    """One request as read; `body` is None while it has not ended."""

    method: bytes
    target: bytes
    minor: int
    fields: tuple[tuple[bytes, bytes, bytes], ...]
    content_length: int | None
    chunked: bool
    expects_continue: bool
    keep_alive: bool
    connection_names: frozenset[bytes]
    body: bytes | None

    @classmethod
    def of(cls, head: RequestHead, body: bytes | None) -> Request:
        return cls(
            head.method,
            head.target,
            head.minor,
            tuple(head.fields),
            head.content_length,
            head.chunked,
            head.expects_continue,
            head.keep_alive,
            head.connection_names,
            body,
        )

    @property
    def raw_fields(self) -> bytes:
        return b"".join(line for _name, _value, line in self.fields)


@attrs.frozen
class Outcome:
    """What became of an input: requests, then perhaps the status and code of a refusal."""

    requests: tuple[Request, ...]
    refusal: tuple[int, str] | None

    @property
    def only(self) -> Request:
        """The one request there is, complete and without a refusal behind it."""
        assert self.refusal is None, self.refusal
        assert len(self.requests) == 1, self.requests
        assert self.requests[0].body is not None
        return self.requests[0]

    @property
    def status(self) -> int | None:
        return None if self.refusal is None else self.refusal[0]


def feed(
    pieces: Iterable[bytes],
    *,
    max_head: int = DEFAULT_MAX_HEAD_BYTES,
    max_body: int = DEFAULT_MAX_BODY_BYTES,
) -> tuple[Outcome, int]:
    """Return the outcome and how many bytes had been fed by then."""
    reader = RequestReader(max_head, max_body)
    requests: list[Request] = []
    head: RequestHead | None = None
    body: LengthBody | ChunkedBody = LengthBody(0)
    content = b""
    fed = 0
    refusal: FramingError | None = None
    for piece in pieces:
        reader.buffer += piece
        fed += len(piece)
        try:
            while True:
                if head is None:
                    head = reader.head()
                    if head is None:
                        break
                    content = b""
                    body = (
                        ChunkedBody(max_body, max_head, head.connection_names)
                        if head.chunked
                        else LengthBody(head.content_length or 0)
                    )
                content += body.take(reader.buffer)
                if not body.done:
                    break
                requests.append(Request.of(head, content))
                head = None
        except FramingError as error:
            refusal = error
            break
    if head is not None:
        requests.append(Request.of(head, None))
    if refusal is None:
        return Outcome(tuple(requests), None), fed
    assert refusal.reason.isascii()
    assert refusal.reason.isprintable()
    return Outcome(tuple(requests), (refusal.status, refusal.code)), fed


def single_bytes(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        yield data[position : position + 1]


def outcome(
    data: bytes,
    *,
    max_head: int = DEFAULT_MAX_HEAD_BYTES,
    max_body: int = DEFAULT_MAX_BODY_BYTES,
) -> Outcome:
    """Return the outcome of `data`; checks that no way of splitting it changes that."""
    limits = {"max_head": max_head, "max_body": max_body}
    whole, _ = feed([data], **limits)
    assert feed(single_bytes(data), **limits)[0] == whole
    if len(data) <= SHORT:
        for cut in range(1, len(data)):
            assert feed([data[:cut], data[cut:]], **limits)[0] == whole, cut
    return whole


def refused_at(
    data: bytes,
    *,
    max_head: int = DEFAULT_MAX_HEAD_BYTES,
    max_body: int = DEFAULT_MAX_BODY_BYTES,
) -> int | None:
    """Return the index of the byte at which `data` is refused, or None."""
    result, fed = feed(single_bytes(data), max_head=max_head, max_body=max_body)
    return None if result.refusal is None else fed - 1


def refused(data: bytes, status: int, at: int | None = None) -> None:
    """Check that `data` is refused with `status`, under every split, and at which byte."""
    assert outcome(data).status == status, data
    if at is not None:
        assert refused_at(data) == at, (data, at)


def request(
    *lines: bytes,
    start: bytes = b"GET /api/v2/version HTTP/1.1",
    host: bytes = b"Host: h",
    body: bytes = b"",
) -> bytes:
    """Return a request of these field lines (without CRLF); an empty `host` is left out."""
    return b"".join(line + b"\r\n" for line in (start, host, *lines) if line) + b"\r\n" + body
