"""The page's paths: who may see them, and what stands in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from sqsuper.admin.control import Control
from sqsuper.admin.errors import AdminError, ForbiddenError, NotFoundError, UnauthorizedError
from sqsuper.admin.guard import Asked, Guard, Who
from sqsuper.admin.page.board import Board
from sqsuper.admin.page.live import Live
from sqsuper.admin.page.statics import Statics
from sqsuper.admin.page.streams import Reader, Streams
from sqsuper.admin.page.table import GROUPS, SORTS, Selection, select
from sqsuper.admin.page.tale import EVENTS, LINES
from sqsuper.admin.page.templates import Templates
from sqsuper.admin.routing import Access, Answer, Call, Route
from sqsuper.admin.sessions import SIGN_IN_BY_LINK
from sqsuper.admin.views import event_of, line_of, origin_of
from sqsuper.config.endpoints import take_apart
from sqsuper.config.model import Config
from sqsuper.slices import Slices

HTML = "text/html; charset=utf-8"
LATEST = 30
MOST_PAGES = 10_000
# What browsers, by their age, tell in that they fetch ahead.
PURPOSES = ("sec-purpose", "purpose", "x-purpose", "x-moz")

Page = Callable[[Call, Who], Awaitable[Answer]]


class Pages:
    """`routes` are to be served while it runs: between `start` and `stop`."""

    def __init__(self, control: Control, guard: Guard, reactor: Any) -> None:
        self._control = control
        self._guard = guard
        self._slices = Slices(reactor)
        self._statics = Statics()
        self._templates = Templates(self._statics.path)
        self._streams = Streams(guard, reactor)
        self._board = Board(control, reactor, lambda: guard.failed)
        self._live = Live(
            self._board,
            reactor,
            watched=lambda: len(self._streams) > 0,
            ended=lambda: self._streams.count_behind(self._board),
        )
        self.routes = (
            Route("GET", "/", self._seen(self.all), Access.OPEN),
            Route("GET", "/tenants/{tenant}", self._seen(self.one), Access.OPEN),
            Route("GET", SIGN_IN_BY_LINK, self._told(self.link), Access.OPEN),
            Route("GET", Statics.PATH, self._statics.get, Access.OPEN),
            Route("GET", "/events/stream", self.stream),
            Route("GET", "/events/stream/{tenant}", self.stream_of),
        )

    def start(self) -> None:
        """Begin to look at the tenants."""
        self._live.start()

    def stop(self) -> None:
        """Look no more."""
        self._live.stop()

    # Who sees them

    def _seen(self, page: Page) -> Callable[[Call], Awaitable[Answer]]:
        """Return what answers with `page`, or with the page to sign in at."""

        async def answer(call: Call) -> Answer:
            try:
                who = self._guard.identify(call.asked)
            except UnauthorizedError as error:
                answer = await self._page("sign_in.html", error.status)
                headers = {**answer.headers, **error.headers}
                return Answer(answer.status, answer.body, HTML, headers)
            return await page(call, who)

        return self._told(answer)

    def _told(
        self, handler: Callable[[Call], Awaitable[Answer]]
    ) -> Callable[[Call], Awaitable[Answer]]:
        """Return what tells errors for people."""

        async def answer(call: Call) -> Answer:
            try:
                return await handler(call)
            except AdminError as error:
                page = await self._page("error.html", error.status, message=error.message)
                return Answer(error.status, page.body, HTML, error.headers)

        return answer

    async def _page(self, name: str, status: int = 200, **values: Any) -> Answer:
        body = await self._slices.run(self._templates.render(name, {"csrf": None, **values}))
        return Answer(status, body, HTML)

    # Pages

    async def all(self, call: Call, who: Who) -> Answer:
        """All tenants; of a service without any what to do first."""
        wanted = Selection(
            text=(call.one("q") or "").strip()[:100],
            group=_one_of(call.one("group"), GROUPS, ""),
            sort=_one_of(call.one("sort"), SORTS, "name"),
            page=max(1, call.number("page", 1, MOST_PAGES)),
        )
        await self._live.fresh()
        selected = select(self._board.rows(), wanted)
        totals = self._board.totals
        shared: dict[str, Any] = {
            "csrf": _csrf(who),
            "gateway": gateway_url(self._control.config, call.asked.header("host") or ""),
            "now": self._control.wall(),
        }
        if not totals["tenants"]:
            return await self._page("first.html", **shared)

        def link(**changed: Any) -> str:
            query = {"q": wanted.text, "group": wanted.group, "sort": wanted.sort, **changed}
            told = {key: value for key, value in query.items() if value not in ("", "name", 1)}
            return f"/?{urlencode(told)}" if told else "/"

        groups = {
            name: sum(totals["states"].get(state, 0) for state in states)
            for name, states in GROUPS.items()
        }
        return await self._page(
            "tenants.html",
            **shared,
            wanted=wanted,
            selected=selected,
            totals=totals,
            groups=groups,
            sorts=SORTS,
            link=link,
            events=self._events(None, LATEST),
        )

    async def one(self, call: Call, who: Who) -> Answer:
        """One tenant. Raises NotFoundError."""
        name = call.parts["tenant"]
        self._control.entry(name)
        await self._live.fresh()
        tenant, row = self._control.entry(name), self._board.row(name)
        if row is None:
            raise NotFoundError("there is no such tenant")
        life = self._control.supervisor.lives[name]
        lines = [line_of(line) for line in self._control.lines(name, LINES)]
        return await self._page(
            "tenant.html",
            csrf=_csrf(who),
            gateway=gateway_url(self._control.config, call.asked.header("host") or ""),
            now=self._control.wall(),
            row=row,
            tenant=tenant,
            origin=origin_of(tenant, life.held),
            address=self._control.tenant(name)["address"],
            tokens=self._control.credentials.of(name),
            overlap=self._control.config.token_overlap,
            why=self._control.why(name),
            events=self._events(name, EVENTS),
            lines=lines,
        )

    def _events(self, name: str | None, last: int) -> list[dict[str, Any]]:
        """Return the last events, newest first."""
        recent = self._control.supervisor.events.recent
        found = [event_of(one) for one in recent if name is None or one.tenant == name]
        return found[: -last - 1 : -1]

    async def link(self, call: Call) -> Answer:
        """Sign in by a link. Raises UnauthorizedError, TooManyError, ForbiddenError."""
        if call.asked.method == "HEAD" or _looks_ahead(call.asked):
            # Whoever only looks what is there must not use it up.
            raise ForbiddenError("this link signs in who opens it")
        session = self._guard.sign_in_by_link(call.asked, call.parts["secret"])
        page = await self._page("signed_in.html")
        cookie = session.set_cookie(call.asked.secure)
        return Answer(200, page.body, HTML, {"Set-Cookie": cookie})

    # Streams

    async def stream(self, call: Call) -> Answer:
        """What happens to all tenants."""
        return self._streams.answer(call, lambda reader: self._streams.of_all(self._live, reader))

    async def stream_of(self, call: Call) -> Answer:
        """What happens to one. Raises NotFoundError."""
        name = call.parts["tenant"]
        self._control.entry(name)

        def told(reader: Reader) -> Any:
            return self._streams.of_one(self._live, reader, self._control, name)

        return self._streams.answer(call, told)


def _looks_ahead(asked: Asked) -> bool:
    """Whether a browser asks for a page that nobody has opened yet."""
    told = [value.lower() for name in PURPOSES for value in asked.headers.get(name, ())]
    return any(word in value for value in told for word in ("prefetch", "prerender", "preview"))


def _csrf(who: Who) -> str | None:
    return None if who.session is None else who.session.csrf


def _one_of(value: str | None, known: Any, otherwise: str) -> str:
    return value if value is not None and value in known else otherwise


def gateway_url(config: Config, host: str) -> str:
    """Return where users reach the gateway, for who reaches the admin listener as `host`."""
    name = host.rpartition(":")[0] if not host.endswith("]") else host
    for text in config.gateway.listen:
        endpoint = take_apart(text, config.file.parent)
        if endpoint.port:
            scheme = "https" if endpoint.kind == "ssl" else "http"
            interface = endpoint.interface
            if interface in ("", "0.0.0.0", "::"):  # noqa: S104 - looked for, not bound
                interface = name or host
            elif ":" in interface and not interface.startswith("["):
                interface = f"[{interface}]"
            return f"{scheme}://{interface}:{endpoint.port}"
    return "http://GATEWAY"
