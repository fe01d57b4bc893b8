"""Heads as they go on: what is changed on purpose is named here, all else keeps its bytes."""

from __future__ import annotations

from sqsuper.http1 import answers
from sqsuper.http1.credentials import CREDENTIAL_FIELDS
from sqsuper.http1.head import HOP_BY_HOP, RequestHead, ResponseHead
from sqsuper.instances import Upstream

REQUEST_ID = b"x-request-id"

# Upgrade is hop-by-hop, HTTP2-Settings goes with it (RFC 7540 3.2.1); Expect is answered here;
# a coding is undone before the body goes on.
_NOT_SENT_UP = HOP_BY_HOP | CREDENTIAL_FIELDS | {b"expect", b"http2-settings", b"transfer-encoding"}
_NOT_SENT_DOWN = HOP_BY_HOP | {
    b"transfer-encoding",
    b"access-control-allow-origin",
    b"access-control-expose-headers",
    REQUEST_ID,
}


def host_of(upstream: Upstream) -> str:
    """Return the Host of a request that came without one."""
    if upstream.path is not None:
        return "127.0.0.1"
    host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
    return f"{host}:{upstream.port}"


def upstream_head(
    head: RequestHead, *, key: str, host: str, request_id: bytes, body_length: int | None
) -> bytes:
    """Return the head that an instance gets: always HTTP/1.1, whatever the client spoke.

    SQ cuts only a literal ` HTTP/1.1` off the request line. `body_length`: of a body whose
    coding was undone, else None. `host`: for a request that came without Host.
    """
    lines = [b"%b %b HTTP/1.1\r\n" % (head.method, head.target)]
    named = head.connection_names
    has_host = has_id = False
    for name, _value, line in head.fields:
        if name in _NOT_SENT_UP or name in named:
            continue
        if name == b"host":
            has_host = True
        elif name == REQUEST_ID:
            has_id = True
        lines.append(line)
    if not has_host:
        lines.append(b"Host: %b\r\n" % host.encode("ascii"))
    if body_length is not None:
        lines.append(b"Content-Length: %d\r\n" % body_length)
    elif head.content_length is None and head.method == b"POST":
        lines.append(b"Content-Length: 0\r\n")
    if not has_id:
        lines.append(b"X-Request-ID: %b\r\n" % request_id)
    lines.append(b"Authorization: Bearer %b\r\n\r\n" % key.encode("ascii"))
    return b"".join(lines)


def connection_line(keep: bool, minor: int) -> bytes:
    """Return the Connection line of an answer to an HTTP/1.`minor` client, or nothing."""
    if not keep:
        return answers.CLOSE
    return b"" if minor else answers.KEEP_ALIVE


def client_head(
    answer: ResponseHead, *, request_id: bytes, connection: bytes, chunked: bool
) -> bytes:
    """Return an instance's answer head as the client gets it.

    `connection`: a whole Connection line or nothing; `chunked`: the body goes on in chunks.
    """
    lines = [b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason)]
    named = answer.connection_names
    for name, _value, line in answer.fields:
        if name in _NOT_SENT_DOWN or name in named:
            continue
        if name == b"content-length" and answer.status == 204:
            # RFC 9110 8.6: none on a 204.
            continue
        lines.append(line)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    lines.append(answers.ALLOW_ORIGIN)
    lines.append(answers.EXPOSE_HEADERS)
    lines.append(b"X-Request-ID: %b\r\n" % request_id)
    lines.append(connection)
    lines.append(b"\r\n")
    return b"".join(lines)
