"""Heads of requests and answers: bytes in, checked facts out, nothing decoded or normalised."""

from __future__ import annotations

from sqsuper.http1 import grammar
from sqsuper.http1.errors import FramingError, bad_request
from sqsuper.http1.progress import MAX_FIELD_LINES, too_many_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    Field = tuple[bytes, bytes, bytes]

    class Known(Protocol):
        """Heads by their field lines; a dict, or what does as one."""

        def get(self, block: bytes, /) -> RequestHead | None:
            """Return the head that had these lines, or None."""


METHODS = frozenset({b"GET", b"POST", b"DELETE", b"HEAD", b"OPTIONS"})
ALLOW = b"Allow: GET, POST, DELETE, HEAD, OPTIONS\r\n"

# RFC 9110 7.6.1: about one connection, never forwarded.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
# Naming one of these in Connection would have a proxy remove what the next one relies on.
NOT_HOP_BY_HOP = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"authorization",
        b"x-sq-api-key",
        b"cookie",
        b"origin",
        b"expect",
    }
)


class RequestHead:
    """A request's checked head.

    `method`, `target`: as sent. `minor`: 0 or 1, of HTTP/1.x. `fields`: one tuple a field
    line, in order: lower-case name, value without surrounding blanks, the whole line with
    CRLF as it came. `content_length`: int, or None without that field. `chunked`: the body is
    chunked. `expects_continue`: a 100 answer is due before the body. `keep_alive`: the client
    will send a further request. `connection_names`: lower-case names that Connection lists.
    """

    __slots__ = (
        "chunked",
        "connection_names",
        "content_length",
        "expects_continue",
        "fields",
        "keep_alive",
        "method",
        "minor",
        "target",
    )

    method: bytes
    target: bytes
    minor: int
    fields: list[Field]
    content_length: int | None
    chunked: bool
    expects_continue: bool
    keep_alive: bool
    connection_names: frozenset[bytes]

    def again(self, method: bytes, target: bytes) -> RequestHead:
        """Return the head of another request with the same field lines."""
        other = type(self)()
        other.method = method
        other.target = target
        other.minor = self.minor
        other.fields = self.fields
        other.content_length = self.content_length
        other.chunked = self.chunked
        other.expects_continue = self.expects_continue
        other.keep_alive = self.keep_alive
        other.connection_names = self.connection_names
        return other

    @property
    def has_body(self) -> bool:
        """Whether body bytes follow the head."""
        return self.chunked or bool(self.content_length)


class ResponseHead:
    """An answer's checked head.

    `minor`, `fields`, `chunked`, `content_length`: as in `RequestHead`. `status`: 100 to 599.
    `reason`: the reason phrase as sent. `keep_alive`: the sender announced
    `Connection: keep-alive`. `connection_names`: as in `RequestHead`.
    """

    __slots__ = (
        "chunked",
        "connection_names",
        "content_length",
        "fields",
        "keep_alive",
        "minor",
        "reason",
        "status",
    )

    minor: int
    status: int
    reason: bytes
    fields: list[Field]
    content_length: int | None
    chunked: bool
    keep_alive: bool
    connection_names: frozenset[bytes]


def parse_request_head(
    raw: bytes,
    *,
    max_body_bytes: int,
    known: Known | None = None,
    max_field_lines: int = MAX_FIELD_LINES,
) -> RequestHead:
    """Check a whole request head and return its facts.

    `raw`: from the method to the CRLF of the last line, without the empty line that ends the
    head. Checks come in the order syntax, version, Host and body framing, Connection, Expect,
    method, form of the target; the first that fails decides.

    `known`: heads of HTTP/1.1 requests, checked under the same `max_body_bytes`, by their
    field lines as they came; a request with the very same lines is made `again` from one.

    Raises FramingError (400, 405, 413, 417, 431, 501 or 505).
    """
    line, _, block = raw.partition(b"\r\n")
    match = grammar.request_line.fullmatch(line)
    if match is None:
        raise bad_request(
            "malformed request line: METHOD SP target SP HTTP/1.1 is expected, without other"
            " blanks, control bytes or '#'"
        )
    method, target, major, minor = match.groups()
    if known is not None and major == minor == b"1":
        same = known.get(block)
        if same is not None:
            _check_request(method, target)
            return same.again(method, target)
    fields = _parse_fields(block, max_field_lines)
    head = RequestHead()
    head.method = method
    head.target = target
    head.fields = fields
    if major != b"1" or minor not in (b"0", b"1"):
        raise FramingError(
            505, "http_version", "HTTP version not supported: HTTP/1.1 and HTTP/1.0 are"
        )
    head.minor = 1 if minor == b"1" else 0
    _frame_request(head, max_body_bytes)
    _check_request(method, target)
    return head


def _check_request(method: bytes, target: bytes) -> None:
    if method not in METHODS:
        raise FramingError(
            405,
            "method_not_allowed",
            "method not allowed: GET, POST, DELETE, HEAD and OPTIONS are",
            (ALLOW,),
        )
    if not target.startswith(b"/") and not (target == b"*" and method == b"OPTIONS"):
        raise bad_request("the target must be a path that begins with '/'")


def parse_response_head(raw: bytes) -> ResponseHead:
    """Check a whole head of an answer (same extent as in `parse_request_head`).

    Raises FramingError (502) for whatever a request's head would be refused for.
    """
    line, _, block = raw.partition(b"\r\n")
    match = grammar.status_line.fullmatch(line)
    if match is None:
        raise _bad_answer("malformed status line")
    head = ResponseHead()
    head.minor = 1 if match[1] == b"1" else 0
    head.status = int(match[2])
    head.reason = match[3] or b""
    try:
        head.fields = _parse_fields(block)
        found = _values(head.fields)
        head.content_length, head.chunked = _body_framing(found, head.minor)
    except FramingError as error:
        raise _bad_answer(error.reason) from None
    head.connection_names = _list_names(found[b"connection"])
    if head.connection_names & NOT_HOP_BY_HOP:
        raise _bad_answer("Connection names a field that is for the recipient of the answer")
    head.keep_alive = (
        b"keep-alive" in head.connection_names and b"close" not in head.connection_names
    )
    return head


def _bad_answer(reason: str) -> FramingError:
    return FramingError(502, "bad_answer", reason)


def parse_field_lines(block: bytes) -> list[Field]:
    """Split checked field lines (each ended by CRLF) as in `RequestHead.fields`.

    Raises FramingError (400; 431 over 256 lines).
    """
    return _parse_fields(block)


def _parse_fields(block: bytes, max_lines: int = MAX_FIELD_LINES) -> list[Field]:
    match = grammar.field_lines.match(block)
    right = 0 if match is None else match.end()
    # A line too many before a wrong one decides: it comes first.
    if block.count(b"\r\n", 0, right) > max_lines:
        raise too_many_lines(max_lines)
    if right != len(block):
        raise bad_request(_why_bad_fields(block))
    fields = []
    for line in block.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b":")
            fields.append((name.lower(), value.strip(grammar.OWS), line + b"\r\n"))
    return fields


def _why_bad_fields(block: bytes) -> str:
    for number, line in enumerate(block.split(b"\r\n"), 1):
        if line[:1] in (b" ", b"\t"):
            return f"field line {number} begins with a blank (folded lines are not taken)"
        if b"\n" in line or b"\r" in line:
            return f"field line {number} holds a CR or LF that is not part of a CRLF"
        if line and grammar.field_line.fullmatch(line) is None:
            name, colon, _ = line.partition(b":")
            if not colon:
                return f"field line {number} has no colon"
            if grammar.token.fullmatch(name) is None:
                return f"field line {number}: the name is no token directly before the colon"
            return f"field line {number}: the value holds a control byte"
    return "a field line does not end with CRLF"


_FRAMING_FIELDS = (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect")


def _values(fields: list[Field]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name in _FRAMING_FIELDS:
        found[name] = []
    for name, value, _line in fields:
        if name in found:
            found[name].append(value)
    return found


def _frame_request(head: RequestHead, max_body_bytes: int) -> None:
    found = _values(head.fields)
    _check_host(found[b"host"], head.minor)
    head.content_length, head.chunked = _body_framing(found, head.minor, max_body_bytes)
    names = _list_names(found[b"connection"])
    wrong = names & NOT_HOP_BY_HOP
    if wrong:
        raise bad_request(
            f"Connection must not name {min(wrong).decode('ascii')}, which is for the recipient"
            " of the request"
        )
    head.connection_names = names
    head.keep_alive = b"close" not in names and (head.minor == 1 or b"keep-alive" in names)
    head.expects_continue = False
    if expectations := found[b"expect"]:
        if len(expectations) > 1 or expectations[0].lower() != b"100-continue":
            raise FramingError(
                417, "expectation_failed", "the only expectation known is 100-continue"
            )
        head.expects_continue = head.minor == 1 and head.has_body


def _check_host(values: list[bytes], minor: int) -> None:
    if len(values) > 1:
        raise bad_request("more than one Host field")
    if not values:
        if minor:
            raise bad_request("an HTTP/1.1 request needs a Host field")
    elif not _is_host(values[0]):
        raise bad_request("the Host field is not a name or address with an optional port")


def _list_names(values: Iterable[bytes]) -> frozenset[bytes]:
    # Elements that are no token cannot name a field or an option.
    names = set()
    for value in values:
        for part in value.split(b","):
            name = part.strip(grammar.OWS)
            if grammar.token.fullmatch(name):
                names.add(name.lower())
    return frozenset(names)


def _is_host(value: bytes) -> bool:
    match = grammar.host.fullmatch(value)
    if match is None:
        return False
    literal, port = match.groups()
    if port is not None and int(port) > 65535:
        return False
    if literal is None:
        return True
    import socket  # noqa: PLC0415  # only for the rare literal

    try:
        socket.inet_pton(socket.AF_INET6, literal.decode("ascii"))
    except (OSError, ValueError):
        return False
    return True


def _body_framing(
    found: dict[bytes, list[bytes]], minor: int, max_body_bytes: int | None = None
) -> tuple[int | None, bool]:
    lengths, codings = found[b"content-length"], found[b"transfer-encoding"]
    if codings:
        if lengths:
            raise bad_request("Content-Length and Transfer-Encoding in one message")
        if not minor:
            raise bad_request("Transfer-Encoding in an HTTP/1.0 message")
        if len(codings) > 1:
            raise bad_request("more than one Transfer-Encoding field")
        _check_coding(codings[0])
        return None, True
    if not lengths:
        return None, False
    if len(lengths) > 1:
        raise bad_request("more than one Content-Length field")
    value = lengths[0]
    if grammar.content_length.fullmatch(value) is None:
        raise bad_request("Content-Length is not a plain decimal number without leading zeros")
    # Lengths are compared first: int() of thousands of digits raises ValueError.
    if len(value) > 19:
        if max_body_bytes is None:
            raise bad_request("Content-Length is out of range")
        raise body_too_large(max_body_bytes)
    length = int(value)
    if max_body_bytes is not None and length > max_body_bytes:
        raise body_too_large(max_body_bytes)
    return length, False


def body_too_large(max_body_bytes: int) -> FramingError:
    """Return the error for a body over the limit (413)."""
    return FramingError(
        413, "body_too_large", f"the body is over the limit of {max_body_bytes} bytes"
    )


def _check_coding(value: bytes) -> None:
    coding = value.lower()
    if coding == b"chunked":
        return
    parts = [part.strip(grammar.OWS) for part in coding.split(b",")]
    if (
        len(parts) > 1
        and parts[-1] == b"chunked"
        and parts.count(b"chunked") == 1
        and all(grammar.token.fullmatch(part) for part in parts)
    ):
        raise FramingError(
            501, "transfer_coding", "of the transfer codings only chunked is implemented"
        )
    raise bad_request("Transfer-Encoding is not exactly: chunked")
