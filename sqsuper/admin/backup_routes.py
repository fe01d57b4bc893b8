"""The admin API's routes to backups; what takes long can be followed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sqsuper.admin.errors import AdminError, BadRequestError
from sqsuper.admin.guard import Guard
from sqsuper.admin.routing import NDJSON, Answer, Call, Route, as_json
from sqsuper.backup.service import Work

if TYPE_CHECKING:
    from sqsuper.admin.control import Control

# Seconds between two lines of progress.
PACE = 0.25
MAX_NAMES = 10_000

Doing = Callable[[Work], Coroutine[Any, Any, dict[str, Any]]]


class BackupRoutes:
    """`routes` are to be served. `clock`: an IReactorTime."""

    _log = Logger()

    def __init__(self, control: Control, guard: Guard, clock: Any) -> None:
        self._control = control
        self._guard = guard
        self._clock = clock
        self.routes = (
            Route("GET", "/api/v2/admin/backups", self.listed),
            Route("POST", "/api/v2/admin/backup", self.make),
            Route("POST", "/api/v2/admin/restore", self.restore),
        )

    async def listed(self, call: Call) -> Answer:
        return as_json(await self._control.archives.listed())

    async def make(self, call: Call) -> Answer:
        names = call.fields(("tenant_ids",)).get("tenant_ids")
        if names is not None and not _is_names(names):
            raise BadRequestError('tenant_ids must be a list of names: {"tenant_ids": ["alice"]}')
        return await self._answered(
            call, lambda work: self._control.archives.make(names, call.who, work)
        )

    async def restore(self, call: Call) -> Answer:
        given = call.fields(("file", "tenant_id", "as", "replace"))
        file, tenant, rename = (given.get(key) for key in ("file", "tenant_id", "as"))
        replace = given.get("replace", False)
        if not isinstance(file, str):
            raise BadRequestError("file must be the name of a backup, as `GET backups` lists it")
        if not all(isinstance(name, (str, type(None))) for name in (tenant, rename)):
            raise BadRequestError("tenant_id and as must be names of tenants")
        if not isinstance(replace, bool):
            raise BadRequestError("replace must be true or false")

        def restore(work: Work) -> Coroutine[Any, Any, dict[str, Any]]:
            return self._control.archives.restore(
                file, call.who, work, tenant=tenant, rename=rename, replace=replace
            )

        return await self._answered(call, restore)

    async def _answered(self, call: Call, doing: Doing) -> Answer:
        if not call.flag("follow"):
            return as_json(await doing(Work()))
        return Answer(
            200,
            content_type=NDJSON,
            stream=self._followed(doing),
            lasts=lambda: self._guard.still(call.who),
        )

    async def _followed(self, doing: Doing) -> AsyncGenerator[bytes, None]:
        """Give lines of progress, then the result or what went wrong. It goes on without us."""
        work, ended = Work(), _Ended()
        Deferred.fromCoroutine(doing(work)).addBoth(ended.take)
        while not ended.taken:
            yield _line({"done": work.done, "total": work.total})
            await deferLater(self._clock, PACE, lambda: None)
        yield _line(self._conclusion(ended.taken[0]))

    def _conclusion(self, result: Any) -> dict[str, Any]:
        if not isinstance(result, Failure):
            return {"result": result}
        error = result.value
        if not isinstance(error, AdminError):
            self._log.failure("a backup or restore failed", result)
            error = AdminError("this failed; the log has more")
        return {
            "error": {"code": error.code, "message": error.message},
            "status": error.status,
        }


class _Ended:
    def __init__(self) -> None:
        self.taken: list[Any] = []

    def take(self, result: Any) -> None:
        self.taken.append(result)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode() + b"\n"


def _is_names(value: object) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= MAX_NAMES
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
    )
