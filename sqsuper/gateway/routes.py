"""Whose a token is: digests to tenants."""

from __future__ import annotations

from sqsuper.config.model import Config, Scope, Token
from sqsuper.http1.credentials import Grant


class Routes:
    """Every tenant's tokens by SHA-256 digest."""

    def __init__(self, grants: dict[bytes, Grant]) -> None:
        self._grants = grants
        self.lookup = grants.get

    @classmethod
    def of(cls, config: Config) -> Routes:
        """Build the table of a checked configuration."""
        return cls(
            {
                token.sha256: _grant(tenant.name, tenant.enabled, token)
                for tenant in config.tenants
                for token in tenant.tokens
            }
        )


def _grant(tenant: str, enabled: bool, token: Token) -> Grant:
    return Grant(
        tenant,
        read_only=token.scope is Scope.READ_ONLY,
        not_before=token.not_before.timestamp() if token.not_before else None,
        expires=token.expires.timestamp() if token.expires else None,
        label=token.label,
        enabled=enabled,
    )
