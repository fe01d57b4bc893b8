"""One spawn's identity: its number, key and marker, and the address it is reached at."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from sqsuper.config.model import Token
from sqsuper.instances import Upstream
from sqsuper.supervisor import listeners
from sqsuper.supervisor.errors import LaunchError, PortTakenError


@attrs.define(eq=False)
class Epoch:
    """Key and marker are fresh for each.

    `port`, without a socket: a command engine's, 0 until chosen, or an embedded one's, 0 until
    it tells.
    """

    tenant: str
    number: int
    socket: listeners.EpochSocket | None
    port: int = 0
    key: str = attrs.field(repr=False, factory=lambda: secrets.token_hex(32))
    marker: str = attrs.field(repr=False, factory=lambda: secrets.token_hex(16))

    @classmethod
    def embedded(cls, tenant: str, number: int, path: Path) -> Epoch:
        """Make one whose socket listens at `path`; raises OSError."""
        return cls(tenant, number, listeners.EpochSocket(path))

    @classmethod
    def at_port(cls, tenant: str, number: int) -> Epoch:
        """Make one that will be reached at a loopback port."""
        return cls(tenant, number, None)

    def choose_port(self, configured: int | None, taken: set[int]) -> None:
        """Take the `configured` port, or a free one that is not in `taken` and enters it.

        Raises `PortTakenError`, or `LaunchError` when there is none.
        """
        if configured is not None:
            if not listeners.is_free(configured):
                raise PortTakenError(self.tenant, configured, "it is taken").with_holder()
            self.port = configured
            return
        try:
            while (port := listeners.free_port()) in taken:
                pass
        except OSError as error:
            raise LaunchError(self.tenant, f"no free port: {error.strerror}") from error
        self.port = port
        taken.add(port)

    def upstream(self) -> Upstream:
        """Return the address and key of this epoch's instance."""
        if self.socket is None:
            host = listeners.LOOPBACK
            return Upstream(self.tenant, self.number, self.key, host=host, port=self.port)
        return Upstream(self.tenant, self.number, self.key, path=str(self.socket.path))

    def control_line(self, tokens: Iterable[Token]) -> bytes:
        """Return what the embedded engine is told first."""
        told = told_tokens(tokens)
        return json.dumps({"key": self.key, "tokens": told}).encode() + b"\n"

    def close(self) -> None:
        """Its process has ended: nothing queued for it may reach another."""
        if self.socket is not None:
            self.socket.close()


def told_tokens(tokens: Iterable[Token]) -> list[dict[str, Any]]:
    """Return tokens as an embedded engine is told them."""
    return [
        {
            "sha256": token.sha256.hex(),
            "label": token.label,
            "scope": token.scope.value,
            "not_before": None if token.not_before is None else token.not_before.timestamp(),
            "expires": None if token.expires is None else token.expires.timestamp(),
        }
        for token in tokens
    ]
