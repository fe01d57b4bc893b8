"""Whole answers of our own: the same form from gateway and engine."""

from __future__ import annotations

import re

from sqsuper.http1 import target as targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REASONS = {
    100: b"Continue",
    200: b"OK",
    204: b"No Content",
    304: b"Not Modified",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    507: b"Insufficient Storage",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ALLOW_ORIGIN = b"Access-Control-Allow-Origin: *\r\n"
EXPOSE_HEADERS = (
    b"Access-Control-Expose-Headers: ETag, X-Request-ID, X-SQ-Error, X-SQ-Code, Retry-After\r\n"
)
TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"
KEEP_ALIVE = b"Connection: keep-alive\r\n"
CLOSE = b"Connection: close\r\n"
# Statuses whose body is JSON: a program has to tell them apart by `code`.
_JSON_STATUSES = frozenset({502, 503, 504, 507})

# How long, and how much, a refused client's further bytes are read and thrown away, so that
# a reset does not overtake the answer.
LINGER_SECONDS = 2.0
LINGER_BYTES = 8 * 1024 * 1024


def head(
    status: int,
    *,
    length: int | None,
    content_type: bytes | None = None,
    connection: bytes = b"",
    fields: Sequence[bytes] = (),
) -> bytes:
    """Return an answer's head with the CORS fields that every answer carries.

    `length`: of the body, or None for no Content-Length (204). `connection`: `KEEP_ALIVE`,
    `CLOSE` or nothing. `fields`: further whole field lines.
    """
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, REASONS[status]), ALLOW_ORIGIN, EXPOSE_HEADERS]
    if content_type is not None:
        lines.append(b"Content-Type: %b\r\n" % content_type)
    if length is not None:
        lines.append(b"Content-Length: %d\r\n" % length)
    lines.append(connection)
    lines.extend(fields)
    lines.append(b"\r\n")
    return b"".join(lines)


def preflight(connection: bytes = b"", fields: Sequence[bytes] = ()) -> bytes:
    """Return the answer to OPTIONS (204)."""
    return b"".join(
        (
            b"HTTP/1.1 204 No Content\r\n",
            ALLOW_ORIGIN,
            b"Access-Control-Allow-Methods: GET, POST, DELETE, HEAD, OPTIONS\r\n"
            b"Access-Control-Allow-Headers: Authorization, Content-Type, X-SQ-API-Key,"
            b" If-Match, If-None-Match\r\n"
            b"Access-Control-Max-Age: 86400\r\n",
            connection,
            *fields,
            b"\r\n",
        )
    )


def error(
    status: int,
    code: str,
    reason: str,
    *,
    method: bytes = b"",
    target: bytes = b"",
    connection: bytes = CLOSE,
    fields: Sequence[bytes] = (),
    facts: Mapping[str, object] | None = None,
) -> bytes:
    """Return a whole error answer.

    One line of text, or of JSON (`error`, `code` and `facts`) for 502, 503, 504 and 507. When
    `target` is that of `delta`, whose clients load any body as a phext, the body is empty and
    the line stands in X-SQ-Error. `method` HEAD: the head alone.
    """
    if status in _JSON_STATUSES:
        import json  # noqa: PLC0415  # costs 1 ms that an engine seldom needs

        text = json.dumps({"error": reason, "code": code, **(facts or {})})
        kind = JSON
    else:
        text = one_line(reason)
        kind = TEXT
    body = text.encode("utf-8", "backslashreplace") + b"\n"
    extra = [b"X-SQ-Code: %b\r\n" % code.encode("ascii"), *fields]
    if targets.is_delta(target):
        extra.append(b"X-SQ-Error: %b\r\n" % field_value(text))
        body = b""
    start = head(status, length=len(body), content_type=kind, connection=connection, fields=extra)
    return start if method == b"HEAD" else start + body


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(text: str) -> str:
    """Return `text` with control characters and line separators escaped."""
    return _CONTROLS.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def field_value(text: str) -> bytes:
    """Return `text` as a field's value: visible ASCII and blanks alone."""
    return one_line(text).encode("ascii", "backslashreplace")


def unauthorized(
    *,
    method: bytes = b"",
    target: bytes = b"",
    connection: bytes = CLOSE,
    fields: Sequence[bytes] = (),
) -> bytes:
    """Return the one 401 there is: it does not tell why a token was not accepted."""
    return error(
        401,
        "unauthorized",
        "a valid token is needed: Authorization: Bearer TOKEN, or X-SQ-API-Key: TOKEN",
        method=method,
        target=target,
        connection=connection,
        fields=(b"WWW-Authenticate: Bearer\r\n", *fields),
    )
