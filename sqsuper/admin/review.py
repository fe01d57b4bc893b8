"""The configuration as a whole: what a reload would do, doing it, and whether a text is valid."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

from sqsuper.admin import files
from sqsuper.admin.audit import Audit
from sqsuper.admin.changing import Changing
from sqsuper.admin.errors import ConflictError
from sqsuper.admin.guard import Who
from sqsuper.config.plan_text import facts_of, lines_of, summary_of
from sqsuper.reloading.outcome import Outcome, Result
from sqsuper.reloading.reading import RefusedError
from sqsuper.reloading.service import API, Reload

MAX_LINES_OF_PLAN = 1000


class Review:
    """Reads the configuration's files, in a process of its own each time."""

    def __init__(self, reload: Reload, changing: Changing, audit: Audit) -> None:
        self._reload = reload
        self._changing = changing
        self._audit = audit

    async def plan(self) -> dict[str, Any]:
        """Return what a reload would do now. Raises ConflictError for what it would refuse."""
        try:
            made = await self._reload.plan()
        except RefusedError as error:
            raise ConflictError(str(error), errors=list(error.errors)) from None
        lines = list(lines_of(made))[:MAX_LINES_OF_PLAN]
        return {"summary": summary_of(made), "lines": lines, **facts_of(made)}

    async def reload(self, who: Who) -> dict[str, Any]:
        """Read the configuration now and go over to it. Raises ConflictError if it is refused."""
        outcome: Outcome = await self._reload.reload(API)
        self._audit(who, "reload", None, outcome.result.value)
        if outcome.result is Result.REFUSED:
            raise ConflictError(outcome.text, errors=list(outcome.errors))
        return {"result": outcome.result.value, "text": outcome.text, "at": outcome.at}

    async def check(self, text: str | None) -> dict[str, Any]:
        """Return whether the configuration, or `text` in its place, is valid, and what it does."""
        file = self._reload.config.file
        if text is None:
            return await self._checked(file, file)
        instead = file.with_name(f".check-{secrets.token_hex(6)}{file.suffix}")
        try:
            await self._changing.in_thread(lambda: files.replace(instead, text))
            return await self._checked(instead, file)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(instead)

    async def _checked(self, read: Path, shown: Path) -> dict[str, Any]:
        try:
            plan = await self._reload.plan(read)
        except RefusedError as error:
            errors = [line.replace(str(read), str(shown)) for line in error.errors]
            return {"valid": False, "errors": errors, "warnings": [], "plan": None}
        warnings = [line.replace(str(read), str(shown)) for line in plan.wanted.warnings]
        return {"valid": True, "errors": [], "warnings": warnings, "plan": summary_of(plan)}
