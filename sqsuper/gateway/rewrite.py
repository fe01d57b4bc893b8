"""Heads as they go on: what is changed on purpose is named here, all else keeps its bytes."""

from __future__ import annotations

from sqsuper.http1 import answers
from sqsuper.http1.credentials import CREDENTIAL_FIELDS
from sqsuper.http1.head import HOP_BY_HOP, RequestHead, ResponseHead
from sqsuper.instances import Upstream

REQUEST_ID = b"x-request-id"
# The session of the admin page; under TLS browsers take only the second from that very host.
ADMIN_COOKIES = (b"sqsuper-session", b"__Host-sqsuper-session")

# Upgrade is hop-by-hop, HTTP2-Settings goes with it (RFC 7540 3.2.1); Expect is answered here;
# a coding is undone before the body goes on.
_NOT_SENT_UP = HOP_BY_HOP | CREDENTIAL_FIELDS | {b"expect", b"http2-settings", b"transfer-encoding"}
_NOT_SENT_DOWN = HOP_BY_HOP | {
    b"transfer-encoding",
    b"access-control-allow-origin",
    b"access-control-expose-headers",
    # Scrolls may be HTML: this origin never sets a cookie.
    b"set-cookie",
    REQUEST_ID,
}


def host_of(upstream: Upstream) -> str:
    """Return the Host of a request that came without one."""
    if upstream.path is not None:
        return "127.0.0.1"
    host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
    return f"{host}:{upstream.port}"


def upstream_lines(head: RequestHead) -> bytes:
    """Return the field lines that go on to an instance, as they came."""
    named = head.connection_names
    return b"".join(
        [
            _without_admin_cookie(line) if name == b"cookie" else line
            for name, _, line in head.fields
            if name not in _NOT_SENT_UP and name not in named
        ]
    )


def _without_admin_cookie(line: bytes) -> bytes:
    """Return a Cookie line without the admin listener's, which browsers send to every port."""
    start, _, value = line.partition(b":")
    pairs = value.strip(b" \t\r\n").split(b";")
    kept = [pair for pair in pairs if pair.partition(b"=")[0].strip(b" \t") not in ADMIN_COOKIES]
    if len(kept) == len(pairs):
        return line
    left = b";".join(kept).strip(b" \t")
    return b"%b: %b\r\n" % (start, left) if left else b""


def upstream_head(
    head: RequestHead,
    upstream: Upstream,
    *,
    request_id: bytes,
    body_length: int | None,
    lines: bytes | None = None,
) -> bytes:
    """Return the head that an instance gets: always HTTP/1.1, whatever the client spoke.

    SQ cuts only a literal ` HTTP/1.1` off the request line. `body_length`: of a body whose
    coding was undone, else None. `lines`: the result of `upstream_lines` where it is known, of
    a head with Host and without X-Request-ID.
    """
    method = head.method
    key = upstream.key.encode("ascii")
    names = () if lines is not None else [name for name, _, _ in head.fields]
    if lines is None:
        lines = upstream_lines(head)
        if b"host" not in names:
            lines += b"Host: %b\r\n" % host_of(upstream).encode("ascii")
    if body_length is not None:
        lines += b"Content-Length: %d\r\n" % body_length
    elif head.content_length is None and method == b"POST":
        lines += b"Content-Length: 0\r\n"
    start = b"%b %b HTTP/1.1\r\n%b" % (method, head.target, lines)
    if REQUEST_ID in names:
        return b"%bAuthorization: Bearer %b\r\n\r\n" % (start, key)
    return plain_upstream_head(start, b"", request_id, key)


def plain_upstream_head(line: bytes, lines: bytes, request_id: bytes, key: bytes) -> bytes:
    """Return the head that an instance gets, of a request that says all but its number.

    `line`: the request line, with CRLF, of HTTP/1.1; `lines`: as in `upstream_head`.
    """
    # What is joined here costs half of what a format would.
    key_line = b"\r\nAuthorization: Bearer "
    return b"".join((line, lines, b"X-Request-ID: ", request_id, key_line, key, b"\r\n\r\n"))


def connection_line(keep: bool, minor: int) -> bytes:
    """Return the Connection line of an answer to an HTTP/1.`minor` client, or nothing."""
    if not keep:
        return answers.CLOSE
    return b"" if minor else answers.KEEP_ALIVE


def client_lines(answer: ResponseHead) -> bytes:
    """Return the part of an instance's answer head that goes on to every client alike."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason)]
    named = answer.connection_names
    for name, _value, line in answer.fields:
        if name in _NOT_SENT_DOWN or name in named:
            continue
        if name == b"content-length" and answer.status == 204:
            # RFC 9110 8.6: none on a 204.
            continue
        lines.append(line)
    lines.append(answers.ALLOW_ORIGIN)
    lines.append(answers.EXPOSE_HEADERS)
    return b"".join(lines)


def client_head(lines: bytes, *, request_id: bytes, connection: bytes, chunked: bool) -> bytes:
    """Return an instance's answer head as one client gets it.

    `lines`: the result of `client_lines`; `connection`: a whole Connection line or nothing;
    `chunked`: the body goes on in chunks.
    """
    coding = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    return plain_client_head(lines, request_id) + coding + connection + b"\r\n"


def plain_client_head(lines: bytes, request_id: bytes) -> bytes:
    """Return the same, less the empty line that ends it, for a client that goes on."""
    return b"".join((lines, b"X-Request-ID: ", request_id, b"\r\n"))
