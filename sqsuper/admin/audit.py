"""Who changed what by the admin API: a line in the log and an event for each."""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

from sqsuper.admin.guard import Who
from sqsuper.supervisor.events import Events, Kind


class Audit(Protocol):
    """Told of each change once it is done."""

    def __call__(self, who: Who, action: str, tenant: str | None, text: str = "") -> None: ...


class Audited:
    """An `Audit` that logs and tells `events`. Never give it a secret."""

    _log = Logger()

    def __init__(self, events: Events) -> None:
        self._events = events

    def __call__(self, who: Who, action: str, tenant: str | None, text: str = "") -> None:
        """`action`: a word such as `token.revoke`; `text`: what of, one line."""
        about = f" {tenant}" if tenant else ""
        line = f"{action}{about}{f': {text}' if text else ''} (by {who})"
        self._log.info("admin: {line}", line=line)
        self._events.tell(
            Kind.ADMIN, tenant, action, line, by=who.kind, address=who.address, detail=text
        )
