"""The admin page's cookie goes to no instance; every other cookie keeps its bytes."""

from __future__ import annotations

import pytest

from sqsuper.gateway.rewrite import upstream_lines
from sqsuper.http1.reader import RequestReader


def sent_up(line: bytes) -> bytes:
    reader = RequestReader(65_536, 65_536)
    reader.buffer += b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n"
    head = reader.head()
    assert head is not None
    return upstream_lines(head).removeprefix(b"Host: x\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"Cookie: a=b",
        b"cookie:a=b;c=d ;;e",
        b"Cookie:",
        b"Cookie: a=sqsuper-session; SQSUPER-SESSION=b; xsqsuper-session=c; sqsuper-sessions=d",
        b"X-Cookie: sqsuper-session=a",
    ],
)
def test_kept(line: bytes) -> None:
    assert sent_up(line) == line + b"\r\n"


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b"Cookie: sqsuper-session=a", b""),
        (b"Cookie: sqsuper-session", b""),
        (b"Cookie: sqsuper-session=a; __Host-sqsuper-session=b", b""),
        (b"cookie:a=b; sqsuper-session=c=d; e=f", b"cookie: a=b; e=f\r\n"),
        (b"Cookie:\tsqsuper-session =a;b=c", b"Cookie: b=c\r\n"),
        (b"Cookie: b=c;\t__Host-sqsuper-session=a", b"Cookie: b=c\r\n"),
        (b"Cookie: sqsuper-session=a\r\nCookie: b=c", b"Cookie: b=c\r\n"),
    ],
)
def test_removed(line: bytes, left: bytes) -> None:
    assert sent_up(line) == left
