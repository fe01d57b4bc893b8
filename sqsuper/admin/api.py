"""The admin API's routes: from a request to a call of `Control`, and its result as JSON.

The paths, what they take and what they give are described in `openapi.yaml`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from sqsuper.admin import views
from sqsuper.admin.backup_routes import BackupRoutes
from sqsuper.admin.control import Control
from sqsuper.admin.credentials import TOKEN_KEYS
from sqsuper.admin.errors import BadRequestError
from sqsuper.admin.guard import Guard, Who
from sqsuper.admin.lines import Following
from sqsuper.admin.routing import NDJSON, Access, Answer, Call, Route, as_json
from sqsuper.admin.sessions import LASTING, LINK_LASTING, SIGN_IN_BY_LINK, forget_cookie
from sqsuper.admin.site import LOOK_AGAIN
from sqsuper.config.schema import TENANT_KEYS, TENANT_SETTINGS
from sqsuper.slices import Slices
from sqsuper.supervisor.tenant_logs import Line

MAX_LINES = 10_000
MAX_EVENTS = 1000
MAX_TENANTS = 100_000
# Of a list, so many are made and sent at a time.
AT_ONCE = 200
NEW_TENANT_KEYS = ("tenant_id", *TENANT_KEYS, *TENANT_SETTINGS.keys, *TOKEN_KEYS)
TENANT_CHANGES = tuple(key for key in (*TENANT_KEYS, *TENANT_SETTINGS.keys) if key != "enabled")


def described() -> dict[str, Any]:
    """Return the OpenAPI document."""
    text = Path(__file__).with_name("openapi.yaml").read_text("utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document


class Api:
    """`routes` are to be served. `metrics()` gives them as Prometheus reads them."""

    def __init__(
        self,
        control: Control,
        guard: Guard,
        *,
        healthy: Callable[[], bool],
        metrics: Callable[[], Awaitable[bytes]],
        clock: Any,
    ) -> None:
        """`clock`: an IReactorTime."""
        self._control = control
        self._guard = guard
        self._healthy = healthy
        self._metrics = metrics
        self._clock = clock
        self._slices = Slices(clock)
        self._document = described()
        tenants, one = "/api/v2/admin/tenants", "/api/v2/admin/tenants/{tenant}"
        local, is_open = Access.LOCAL, Access.OPEN
        self.routes = (
            Route("GET", "/health", self.health, is_open),
            Route("GET", "/metrics", self.metrics),
            Route("GET", "/api/v2/metrics", self.metrics),
            Route("GET", "/admin/tenants", self.tenants),
            Route("POST", "/api/v2/reload", self.reload, local),
            Route("GET", "/api/v2/admin/openapi.json", self.openapi),
            Route("POST", "/api/v2/admin/session", self.sign_in, is_open),
            Route("GET", "/api/v2/admin/session", self.session),
            Route("POST", "/api/v2/admin/session/link", self.link),
            Route("DELETE", "/api/v2/admin/session", self.sign_out),
            Route("GET", "/api/v2/admin/plan", self.plan),
            Route("POST", "/api/v2/admin/check", self.check),
            Route("POST", "/api/v2/admin/restart", self.restart_all),
            Route("GET", "/api/v2/admin/events", self.events),
            Route("GET", tenants, self.tenants),
            Route("POST", f"{tenants}/add", self.add),
            Route("GET", one, self.tenant),
            Route("PATCH", one, self.change),
            Route("DELETE", one, self.remove),
            Route("GET", f"{one}/stats", self.stats),
            Route("GET", f"{one}/why", self.why),
            Route("GET", f"{one}/events", self.events_of),
            Route("GET", f"{one}/logs", self.logs),
            Route("GET", f"{one}/tokens", self.tokens),
            Route("POST", f"{one}/tokens", self.issue),
            Route("DELETE", f"{one}/tokens/{{token}}", self.revoke),
            Route("POST", f"{one}/tokens/{{token}}/rotate", self.rotate),
            Route("POST", f"{one}/start", self.start),
            Route("POST", f"{one}/stop", self.stop),
            Route("POST", f"{one}/restart", self.restart),
            Route("POST", f"{one}/reset", self.reset),
            Route("POST", f"{one}/enable", self.enable),
            Route("POST", f"{one}/disable", self.disable),
            *BackupRoutes(control, guard, clock).routes,
        )

    # The listener itself

    async def health(self, call: Call) -> Answer:
        if self._healthy():
            return as_json({"status": "ok"})
        return as_json({"status": "stopping"}, 503)

    async def openapi(self, call: Call) -> Answer:
        return as_json(self._document)

    async def metrics(self, call: Call) -> Answer:
        return Answer(200, await self._metrics(), "text/plain; version=0.0.4; charset=utf-8")

    async def sign_in(self, call: Call) -> Answer:
        token = call.fields(("token",)).get("token")
        if not isinstance(token, str):
            raise BadRequestError('token must be the admin token: {"token": "..."}')
        session = self._guard.sign_in(call.asked, token)
        answer = as_json({"csrf_token": session.csrf, "expires_in": LASTING})
        cookie = session.set_cookie(call.asked.secure)
        return Answer(200, answer.body, headers={"Set-Cookie": cookie})

    async def session(self, call: Call) -> Answer:
        session = call.who.session
        return as_json(
            {
                "by": call.who.kind,
                "csrf_token": None if session is None else session.csrf,
                "failed_attempts": self._failed_attempts(),
            }
        )

    async def link(self, call: Call) -> Answer:
        call.fields(())
        path = SIGN_IN_BY_LINK.replace("{secret}", self._guard.sessions.new_link())
        return as_json({"path": path, "expires_in": LINK_LASTING}, 201)

    async def sign_out(self, call: Call) -> Answer:
        call.fields(())
        if call.who.session is not None:
            self._guard.sessions.end(call.who.session)
        return Answer(200, b"{}\n", headers={"Set-Cookie": forget_cookie(call.asked.secure)})

    def _failed_attempts(self) -> dict[str, int]:
        return {"admin": self._guard.failed, "gateway": self._control.gateway.wrong_tokens}

    # The configuration

    async def plan(self, call: Call) -> Answer:
        return as_json(await self._control.review.plan())

    async def reload(self, call: Call) -> Answer:
        call.fields(())
        return as_json(await self._control.review.reload(call.who))

    async def check(self, call: Call) -> Answer:
        text = call.fields(("text",)).get("text")
        if text is not None and not isinstance(text, str):
            raise BadRequestError("text must be a configuration file's text")
        return as_json(await self._control.review.check(text))

    # Tenants

    async def tenants(self, call: Call) -> Answer:
        limit = max(1, call.number("limit", MAX_TENANTS, MAX_TENANTS))
        after = call.one("after") or ""
        if call.asked.method == "HEAD":
            return Answer(200)
        return Answer(
            200, stream=self._listed(after, limit), lasts=lambda: self._guard.still(call.who)
        )

    async def _listed(self, after: str, limit: int) -> AsyncGenerator[bytes, None]:
        """Give the list as JSON; `next`: what `after` must be to have those that follow.

        Of 10,000 it is the work of half a second: others are served meanwhile.
        """
        tenants = self._control.tenants(after)
        told = b'{"tenants": ['
        last = None
        while limit:
            some, texts = await self._slices.run(_some(tenants, min(limit, AT_ONCE)))
            if not some:
                break
            yield told + b", ".join(texts)
            told = b", "
            limit -= len(some)
            last = some[-1]
        more = next(tenants, None) is not None
        end = {"failed_attempts": self._failed_attempts(), "next": last if more else None}
        yield (told if last is None else b"") + b"], " + json.dumps(end).encode()[1:] + b"\n"

    async def tenant(self, call: Call) -> Answer:
        return as_json(self._control.tenant(call.parts["tenant"]))

    async def stats(self, call: Call) -> Answer:
        return as_json(self._control.stats(call.parts["tenant"]))

    async def add(self, call: Call) -> Answer:
        given = call.fields(NEW_TENANT_KEYS)
        name = given.pop("tenant_id", None)
        if not isinstance(name, str):
            raise BadRequestError(
                'tenant_id must be the new tenant\'s name: {"tenant_id": "alice"}'
            )
        return as_json(await self._control.add(name, given, call.who), 201)

    async def change(self, call: Call) -> Answer:
        given = call.fields(TENANT_CHANGES)
        return as_json(await self._control.change(call.parts["tenant"], given, call.who))

    async def remove(self, call: Call) -> Answer:
        call.fields(())
        return as_json(await self._control.remove(call.parts["tenant"], call.who))

    async def start(self, call: Call) -> Answer:
        return await self._done(call, self._control.start)

    async def stop(self, call: Call) -> Answer:
        return await self._done(call, self._control.stop)

    async def restart(self, call: Call) -> Answer:
        return await self._done(call, self._control.restart)

    async def restart_all(self, call: Call) -> Answer:
        most = call.fields(("max_unavailable",)).get("max_unavailable", 1)
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise BadRequestError("max_unavailable must be a whole number from 1 up")
        return as_json(await self._control.restart_all(most, call.who))

    async def reset(self, call: Call) -> Answer:
        return await self._done(call, self._control.reset)

    async def enable(self, call: Call) -> Answer:
        return await self._done(call, self._control.enable)

    async def disable(self, call: Call) -> Answer:
        return await self._done(call, self._control.disable)

    async def _done(self, call: Call, act: Callable[..., Any]) -> Answer:
        call.fields(())
        return as_json(await act(call.parts["tenant"], call.who))

    # What happened

    async def why(self, call: Call) -> Answer:
        return as_json(self._control.why(call.parts["tenant"]))

    async def events(self, call: Call) -> Answer:
        last = call.number("last", MAX_EVENTS, MAX_EVENTS)
        return as_json({"events": self._control.events(None, last)})

    async def events_of(self, call: Call) -> Answer:
        last = call.number("last", MAX_EVENTS, MAX_EVENTS)
        return as_json({"events": self._control.events(call.parts["tenant"], last)})

    async def logs(self, call: Call) -> Answer:
        name = call.parts["tenant"]
        lines = self._control.lines(name, call.number("lines", 100, MAX_LINES))
        if not call.flag("follow"):
            return as_json({"lines": [views.line_of(line) for line in lines]})
        if call.asked.method == "HEAD":
            return Answer(200, content_type=NDJSON)
        told = self._told(name, lines, call.who)
        return Answer(
            200, content_type=NDJSON, stream=told, lasts=lambda: self._guard.still(call.who)
        )

    async def _told(
        self, name: str, lines: Sequence[Line], who: Who
    ) -> AsyncGenerator[bytes, None]:
        """Give these and all further lines of a tenant, one of JSON each, while `who` may."""
        following = Following(lines)
        end = self._control.follow(name, following.take)
        looking: Any = LoopingCall(following.take, ())
        looking.clock = self._clock
        looking.start(LOOK_AGAIN, now=False)
        try:
            while self._guard.still(who):
                taken = following.taken()
                if taken:
                    yield b"".join(json.dumps(line).encode() + b"\n" for line in taken)
                else:
                    more: Deferred[None] = following.more()
                    await more
        finally:
            looking.stop()
            end()

    # Tokens

    async def tokens(self, call: Call) -> Answer:
        return as_json(self._control.credentials.of(call.parts["tenant"]))

    async def issue(self, call: Call) -> Answer:
        given = call.fields(TOKEN_KEYS)
        made = await self._control.credentials.issue(call.parts["tenant"], given, call.who)
        return as_json(made, 201)

    async def revoke(self, call: Call) -> Answer:
        call.fields(())
        tenant, token = call.parts["tenant"], call.parts["token"]
        return as_json(await self._control.credentials.revoke(tenant, token, call.who))

    async def rotate(self, call: Call) -> Answer:
        given = call.fields(("overlap",))
        tenant, token = call.parts["tenant"], call.parts["token"]
        made = await self._control.credentials.rotate(tenant, token, given, call.who)
        return as_json(made, 201)


def _some(
    tenants: Iterator[dict[str, Any]], most: int
) -> Generator[None, None, tuple[list[str], list[bytes]]]:
    """Return the names of the next few, and each as JSON; none at the end."""
    names, texts = [], []
    for tenant in islice(tenants, most):
        names.append(tenant["tenant_id"])
        texts.append(json.dumps(tenant, allow_nan=False).encode())
        yield
    return names, texts
