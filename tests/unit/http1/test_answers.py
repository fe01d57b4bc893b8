"""Answers of our own."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from sqsuper.http1 import answers
from sqsuper.http1.head import ResponseHead
from sqsuper.http1.reader import ResponseReader

JSON_STATUSES = (502, 503, 504, 507)
TEXT_STATUSES = tuple(
    status for status in answers.REASONS if status >= 400 and status not in JSON_STATUSES
)
DELTA = b"/api/v2/delta?p=x"
NASTY = 'a\r\nX-Evil: 1\r\n\r\n\0\x1b[2J\x7f\x85\u2028\u2029 \u00fc\U0001f600 \ud800 "<b>\\'


def parsed(answer: bytes) -> tuple[ResponseHead, bytes]:
    reader = ResponseReader()
    reader.buffer += answer
    head = reader.head()
    assert head is not None
    return head, bytes(reader.buffer)


def values(head: ResponseHead, name: bytes) -> list[bytes]:
    return [value for each, value, _line in head.fields if each == name]


def check_usual(head: ResponseHead) -> None:
    assert values(head, b"access-control-allow-origin") == [b"*"]
    assert values(head, b"access-control-expose-headers") == [
        b"ETag, X-Request-ID, X-SQ-Error, X-SQ-Code, Retry-After"
    ]
    assert head.minor == 1
    assert head.reason == answers.REASONS[head.status]


@pytest.mark.parametrize("status", TEXT_STATUSES)
def test_an_error_in_text(status: int) -> None:
    head, body = parsed(answers.error(status, "some_code", "what is wrong", target=b"/x"))
    check_usual(head)
    assert head.status == status
    assert body == b"what is wrong\n"
    assert head.content_length == len(body)
    assert values(head, b"content-type") == [b"text/plain; charset=utf-8"]
    assert values(head, b"x-sq-code") == [b"some_code"]
    assert values(head, b"x-sq-error") == []
    assert values(head, b"connection") == [b"close"]


@pytest.mark.parametrize("status", JSON_STATUSES)
def test_an_error_in_json(status: int) -> None:
    facts = {"executed": "unknown", "request_id": NASTY.replace("\ud800", "")}
    head, body = parsed(answers.error(status, "some_code", NASTY, facts=facts))
    check_usual(head)
    assert head.content_length == len(body)
    assert values(head, b"content-type") == [b"application/json"]
    assert body.count(b"\n") == 1
    assert body.endswith(b"\n")
    assert json.loads(body) == {"error": NASTY, "code": "some_code", **facts}


@pytest.mark.parametrize("status", [*TEXT_STATUSES, *JSON_STATUSES])
def test_an_error_on_delta(status: int) -> None:
    head, body = parsed(
        answers.error(
            status, "c", NASTY, method=b"POST", target=DELTA, facts={"executed": "unknown"}
        )
    )
    check_usual(head)
    assert body == b""
    assert head.content_length == 0
    (reason,) = values(head, b"x-sq-error")
    assert all(0x20 <= byte < 0x7F for byte in reason)
    if status in JSON_STATUSES:
        assert json.loads(reason) == {"error": NASTY, "code": "c", "executed": "unknown"}
    assert values(head, b"x-evil") == []


@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize("target", [b"/x", DELTA])
def test_head_gets_the_head_of_the_same_answer(status: int, target: bytes) -> None:
    whole = answers.error(status, "c", "r", method=b"GET", target=target)
    start = answers.error(status, "c", "r", method=b"HEAD", target=target)
    assert whole.startswith(start)
    assert start.endswith(b"\r\n\r\n")
    assert start.count(b"\r\n\r\n") == 1
    assert parsed(start)[0].content_length == len(whole) - len(start)


def test_no_control_byte_gets_into_an_answer() -> None:
    for status in (400, 503):
        for target in (b"/x", DELTA):
            answer = answers.error(status, "c", NASTY, target=target)
            head, body = parsed(answer)
            assert values(head, b"x-evil") == []
            assert body.count(b"\n") == (target != DELTA)
            text = body[:-1].decode("utf-8")
            assert all(char.isprintable() for char in text), text
    for number in range(0x20):
        assert chr(number) not in answers.one_line(f"a{chr(number)}b")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain text", "plain text"),
        ("\u00fc \u4e2d", "\u00fc \u4e2d"),
        ("a\nb", "a\\x0ab"),
        ("\x00\x1f\x7f\x80\x9f", "\\x00\\x1f\\x7f\\x80\\x9f"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("", ""),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert answers.one_line(text) == line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain text", b"plain text"),
        ("a\r\nb\tc", b"a\\x0d\\x0ab\\x09c"),
        ("\u00fc\u4e2d", b"\\xfc\\u4e2d"),
        ("\ud800", b"\\ud800"),
    ],
)
def test_field_value(text: str, value: bytes) -> None:
    assert answers.field_value(text) == value


def test_every_character_in_a_field_value() -> None:
    for number in [*range(0x3000), 0xD800, 0xFFFF, 0x10FFFF]:
        assert all(0x20 <= byte < 0x7F for byte in answers.field_value(chr(number)))


def test_further_fields_and_connection() -> None:
    answer = answers.error(
        429,
        "c",
        "r",
        connection=answers.KEEP_ALIVE,
        fields=(b"Retry-After: 5\r\n", b"X-Request-ID: 7\r\n"),
    )
    head, _ = parsed(answer)
    assert head.keep_alive
    assert values(head, b"retry-after") == [b"5"]
    assert values(head, b"x-request-id") == [b"7"]
    assert values(parsed(answers.error(429, "c", "r", connection=b""))[0], b"connection") == []


def test_the_one_401() -> None:
    head, body = parsed(answers.unauthorized(method=b"GET", target=b"/x"))
    check_usual(head)
    assert head.status == 401
    assert values(head, b"www-authenticate") == [b"Bearer"]
    assert head.content_length == len(body) > 0
    empty_head, empty = parsed(answers.unauthorized(method=b"POST", target=DELTA))
    assert empty == b""
    assert values(empty_head, b"x-sq-error") == [body[:-1]]


@pytest.mark.parametrize("connection", [b"", answers.CLOSE, answers.KEEP_ALIVE])
def test_preflight(connection: bytes) -> None:
    answer = answers.preflight(connection, (b"X-Request-ID: 7\r\n",))
    head, body = parsed(answer)
    assert (head.status, body, head.content_length) == (204, b"", None)
    assert values(head, b"access-control-allow-origin") == [b"*"]
    assert values(head, b"access-control-allow-methods") == [b"GET, POST, DELETE, HEAD, OPTIONS"]
    assert values(head, b"access-control-allow-headers") == [
        b"Authorization, Content-Type, X-SQ-API-Key, If-Match, If-None-Match"
    ]
    assert values(head, b"access-control-max-age") == [b"86400"]
    assert values(head, b"x-request-id") == [b"7"]
    assert connection in answer


@pytest.mark.parametrize("status", sorted(answers.REASONS))
def test_a_head_of_every_status(status: int) -> None:
    length = None if status == 204 else 7
    head, rest = parsed(answers.head(status, length=length, content_type=b"text/html"))
    check_usual(head)
    assert head.content_length == length
    assert values(head, b"content-type") == [b"text/html"]
    assert rest == b""
    assert values(parsed(answers.head(status, length=0))[0], b"content-type") == []


def test_continue() -> None:
    head, rest = parsed(answers.CONTINUE)
    assert (head.status, head.fields, rest) == (100, [], b"")


@pytest.mark.parametrize("make", [answers.error, answers.unauthorized])
def test_a_refusal_closes_unless_told_otherwise(make: Callable[..., bytes]) -> None:
    answer = make(400, "c", "r") if make is answers.error else make()
    assert values(parsed(answer)[0], b"connection") == [b"close"]
