"""The admin listener's HTTP: twisted.web below, the routes above; thin."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from sqsuper.admin.errors import AdminError, BadRequestError, TooLargeError
from sqsuper.admin.guard import Asked, Guard, Who
from sqsuper.admin.routing import MAX_BODY, Access, Answer, Call, Router, as_json

IDLE_TIMEOUT = 75
# In seconds, from a request's first byte to its last: a body has 1 MiB at most.
RECEIVE_TIMEOUT = 30.0
# All descriptors are the gateway's, too: past so many a newcomer is closed.
MAX_CONNECTIONS = 1000
# While an answer lasts it is looked at so often whether its client still may have it, in seconds.
LOOK_AGAIN = 1.0
HEADERS = {
    "Server": "sqsuper",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

log = Logger()


class AdminRequest(Request):
    """A request whose body is short; a longer one is refused before it is read."""

    _seen = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        super().gotLength(length)  # type: ignore[no-untyped-call]
        if length is not None and length > MAX_BODY:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self._seen += len(data)
        if self._seen > MAX_BODY:
            self._refuse()
        elif not self._refused:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        # As in the base class, but that no form is ever taken apart.
        if self._refused:
            return
        assert self.content is not None
        self.content.seek(0)
        self.args = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = b"/"  # the router reads uri; the base class would answer a "*" by itself
        self.process()  # type: ignore[no-untyped-call]

    def _refuse(self) -> None:
        if self._refused:
            return
        self._refused = True
        transport: Any = self.channel.transport
        answer = error_answer(TooLargeError(f"a body has at most {MAX_BODY} bytes"))
        fields = {**HEADERS, "Content-Type": answer.content_type, "Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        start = f"HTTP/1.1 413 Content Too Large\r\nContent-Length: {len(answer.body)}\r\n"
        transport.write(f"{start}{head}\r\n".encode() + answer.body)
        transport.loseConnection()


class Root(Resource):
    """Answers every request by `router`; what it raises but AdminError is a defect, told as 500."""

    isLeaf = True

    def __init__(self, router: Router, guard: Guard, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._router = router
        self._guard = guard
        self._reactor = reactor

    def render(self, request: Any) -> Any:
        # A change that has begun is carried through, also when its client does not wait for it.
        client = _Client(request)
        running = Deferred.fromCoroutine(self._serve(request, client))
        running.addErrback(_broken, request)
        return NOT_DONE_YET

    async def _serve(self, request: Any, client: _Client) -> None:
        try:
            answer = await self._answer(request)
        except AdminError as error:
            answer = error_answer(error)
        except Exception:
            log.failure("an admin request failed")
            answer = error_answer(AdminError("this failed; the log has more"))
        await _send(request, answer, client, self._reactor)

    async def _answer(self, request: Any) -> Answer:
        asked = asked_of(request)
        self._guard.check_host(asked)
        path, _, query = request.uri.partition(b"?")
        if not path.startswith(b"/"):
            raise BadRequestError("the target must begin with /")
        route, parts = self._router.find(asked.method, path.decode("latin-1"))
        who: Who | None = None
        if route.access is Access.SIGNED:
            who = self._guard.identify(asked)
        elif route.access is Access.LOCAL:
            who = self._guard.identify_for_reload(asked)
        body = request.content.read()
        return await route.handler(Call(asked, parts, _query(query), body, who))


def _query(text: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(
            text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100
        )
    except ValueError:
        raise BadRequestError(
            "the query is no list of name=value in percent-encoded UTF-8"
        ) from None


def asked_of(request: Any) -> Asked:
    """Return what the guard looks at of a twisted.web request."""
    headers: dict[str, list[str]] = {}
    for name, values in request.requestHeaders.getAllRawHeaders():
        listed = headers.setdefault(name.decode("latin-1").lower(), [])
        listed += [value.decode("latin-1") for value in values]
    host = request.getHost()
    local = (host.host, host.port) if hasattr(host, "port") else None
    client = request.getClientAddress()
    peer = getattr(client, "host", "") or ""
    method = request.method.decode("latin-1")
    return Asked(method, headers, peer, local, bool(request.isSecure()))


def error_answer(error: AdminError) -> Answer:
    """Return the answer that tells an error."""
    told = {"code": error.code, "message": error.message, **error.fields}
    answer = as_json({"error": told}, error.status)
    return Answer(answer.status, answer.body, headers=error.headers)


class _Client:
    """Whether a request's client is still there."""

    def __init__(self, request: Any) -> None:
        self.gone = False
        self.sending: Deferred[None] | None = None
        request.notifyFinish().addErrback(self._lost)

    def _lost(self, _: object) -> None:
        self.gone = True
        if self.sending is not None:
            self.sending.cancel()


async def _send(request: Any, answer: Answer, client: _Client, reactor: Any) -> None:
    if client.gone:
        if answer.stream is not None:
            await answer.stream.aclose()
        return
    # twisted.web has no words for 421.
    request.setResponseCode(answer.status, HTTPStatus(answer.status).phrase.encode())
    fields = {**HEADERS, "Content-Type": answer.content_type, **answer.headers}
    for name, value in fields.items():
        request.setHeader(name.encode(), value.encode())
    if answer.stream is None:
        if answer.status != 304:
            request.setHeader(b"Content-Length", b"%d" % len(answer.body))
        request.write(answer.body)
    else:
        pace = _Pace()
        client.sending = Deferred.fromCoroutine(_stream(request, answer.stream, pace))
        looking = _looking(request, answer.lasts, pace, reactor)
        try:
            await client.sending
        finally:
            looking.stop()
    request.finish()


def _looking(request: Any, lasts: Callable[[], bool] | None, pace: _Pace, reactor: Any) -> Any:
    """Cut a stuck connection once `lasts` says no; return what looks, to be stopped at the end."""

    def look() -> None:
        stuck = pace.paused is not None and request.channel is not None
        if stuck and lasts is not None and not lasts():
            request.channel.transport.abortConnection()

    looking: Any = LoopingCall(look)
    looking.clock = reactor
    looking.start(LOOK_AGAIN, now=False).addErrback(_broken, request)
    return looking


async def _stream(request: Any, pieces: AsyncGenerator[bytes, None], pace: _Pace) -> None:
    """Send what `pieces` gives, as fast as the client takes it."""
    request.registerProducer(pace, True)
    request.write(b"")  # the head, at once
    try:
        async for piece in pieces:
            request.write(piece)
            if pace.paused is not None:
                await pace.paused
    finally:
        await pieces.aclose()
        if request.channel is not None:
            request.unregisterProducer()


@implementer(IPushProducer)
class _Pace:
    """Whether the client takes more: `paused` fires when it does again."""

    def __init__(self) -> None:
        self.paused: Deferred[None] | None = None

    def pauseProducing(self) -> None:
        if self.paused is None:
            self.paused = Deferred()

    def resumeProducing(self) -> None:
        paused, self.paused = self.paused, None
        if paused is not None:
            paused.callback(None)

    def stopProducing(self) -> None:
        """The client is gone; `notifyFinish` tells so, too."""


def _broken(failure: Any, request: Any) -> None:
    if not failure.check(CancelledError):
        log.failure("an admin answer failed", failure)
        request.loseConnection()


class Channel(HTTPChannel):
    """A client's connection."""

    site: AdminSite
    _answering = False
    _late: Any = None

    def connectionMade(self) -> None:
        full = len(self.site.channels) >= MAX_CONNECTIONS
        self.site.channels.add(self)
        super().connectionMade()  # type: ignore[no-untyped-call]
        if full:
            self.abort()

    def dataReceived(self, data: bytes) -> None:
        # The base class waits anew after each byte.
        if self._late is None and not self._answering:
            self._late = self.callLater(  # type: ignore[no-untyped-call]
                RECEIVE_TIMEOUT, self.abort
            )
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def allContentReceived(self) -> None:
        self._answering = True
        self._received()
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def requestDone(self, request: Any) -> None:
        self._answering = False
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self.site.channels.discard(self)
        self._received()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _received(self) -> None:
        late, self._late = self._late, None
        if late is not None and late.active():
            late.cancel()

    def abort(self) -> None:
        """Close it, whatever it is about."""
        transport: Any = self.transport
        transport.abortConnection()


class AdminSite(Site):
    """What listens. Nothing of a request is logged here: see the audit."""

    protocol: Any = Channel
    noisy = False
    displayTracebacks = False

    def __init__(self, router: Router, guard: Guard, reactor: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            Root(router, guard, reactor),
            requestFactory=AdminRequest,
            timeout=IDLE_TIMEOUT,
            reactor=reactor,
        )
        self.channels: set[Channel] = set()

    def log(self, request: Any) -> None:
        """Log nothing."""

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def close_all(self) -> None:
        """Close all connections, whatever they are about."""
        for channel in list(self.channels):
            channel.abort()
