"""Whose a token is: digests to tenants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from sqsuper.config.model import Scope, Tenant, Token
from sqsuper.http1.credentials import Grant

_NOTHING: Mapping[bytes, Grant] = MappingProxyType({})


class Routes:
    """Every tenant's tokens by SHA-256 digest.

    `lookup(digest)` finds a grant. A grant stays the same object for as long as its token is
    that tenant's.
    """

    def __init__(self, grants: dict[bytes, Grant]) -> None:
        self._grants = grants
        self._digests: dict[str, tuple[bytes, ...]] = {}
        self.lookup = grants.get

    @classmethod
    def of(cls, tenants: Iterable[Tenant]) -> Routes:
        """Build the table of a checked configuration's tenants."""
        routes = cls({})
        for tenant in tenants:
            routes._add(tenant)
        return routes

    def change(self, changed: Iterable[Tenant], gone: Iterable[str]) -> set[Grant]:
        """Go on with other tokens of some tenants, and without the tenants `gone`.

        Return the grants of tokens that admit no more to what they did: those whose token is
        no longer that tenant's.
        """
        changed = list(changed)
        before: dict[bytes, Grant] = {}
        for name in (*gone, *(tenant.name for tenant in changed)):
            for digest in self._digests.pop(name, ()):
                before[digest] = self._grants.pop(digest)
        for tenant in changed:
            self._add(tenant, before)
        return {grant for digest, grant in before.items() if not self._still(digest, grant)}

    def _still(self, digest: bytes, before: Grant) -> bool:
        return self._grants.get(digest) is before

    def _add(self, tenant: Tenant, before: Mapping[bytes, Grant] = _NOTHING) -> None:
        self._digests[tenant.name] = tuple({token.sha256 for token in tenant.tokens})
        for token in tenant.tokens:
            grant = _grant(tenant.name, tenant.enabled, token)
            old = before.get(token.sha256)
            if old is not None and old.tenant == grant.tenant:
                # Who was admitted by it is recognised by the object.
                old.read_only, old.enabled, old.label = grant.read_only, grant.enabled, grant.label
                old.not_before, old.expires = grant.not_before, grant.expires
                grant = old
            self._grants[token.sha256] = grant


def _grant(tenant: str, enabled: bool, token: Token) -> Grant:
    return Grant(
        tenant,
        read_only=token.scope is Scope.READ_ONLY,
        not_before=token.not_before.timestamp() if token.not_before else None,
        expires=token.expires.timestamp() if token.expires else None,
        label=token.label,
        enabled=enabled,
    )
