"""Whose a token is: digests to tenants."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from sqsuper.config.model import Scope, Tenant, Token
from sqsuper.http1.credentials import Grant


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

    def grants(self) -> Iterable[tuple[bytes, Grant]]:
        """Return all digests with their grants."""
        return self._grants.items()

    def change(self, changed: Iterable[Tenant], gone: Iterable[str]) -> set[Grant]:
        """Go on with other tokens of some tenants, and without the tenants `gone`.

        Return the grants of tokens that admit no more to what they did: those whose token is
        no longer that tenant's.
        """
        staged = StagedRoutes(self)
        for _ in staged.steps(list(changed), list(gone)):
            pass
        return staged.commit()

    def _add(self, tenant: Tenant) -> None:
        self._digests[tenant.name] = tuple({token.sha256 for token in tenant.tokens})
        for token in tenant.tokens:
            self._grants[token.sha256] = _grant(tenant.name, tenant.enabled, token)


class StagedRoutes:
    """A change of `routes` that is made ready step by step; before `commit` nobody sees it.

    No other change may be committed in between.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._before: dict[bytes, Grant] = {}
        self._after: dict[bytes, Grant] = {}
        self._digests: dict[str, tuple[bytes, ...]] = {}
        self._gone: list[str] = []
        self._kept: list[tuple[Grant, Grant]] = []

    def steps(self, changed: Sequence[Tenant], gone: Sequence[str]) -> Generator[None, None, None]:
        """Take the tenants `changed` and `gone`; a pause is offered after each."""
        self._gone += gone
        # All of them first: a token may go from one tenant to another.
        for name in (*gone, *(tenant.name for tenant in changed)):
            for digest in self._routes._digests.get(name, ()):
                self._before[digest] = self._routes._grants[digest]
            yield
        for tenant in changed:
            self._digests[tenant.name] = tuple({token.sha256 for token in tenant.tokens})
            for token in tenant.tokens:
                self._after[token.sha256] = self._granted(tenant, token)
            yield

    def _granted(self, tenant: Tenant, token: Token) -> Grant:
        grant = _grant(tenant.name, tenant.enabled, token)
        old = self._before.get(token.sha256)
        if old is None or old.tenant != grant.tenant:
            return grant
        # Who was admitted by it is recognised by the object.
        self._kept.append((old, grant))
        return old

    def commit(self) -> set[Grant]:
        """Go over to it, for all tenants at once; return what `Routes.change` does."""
        for old, new in self._kept:
            old.read_only, old.enabled, old.label = new.read_only, new.enabled, new.label
            old.not_before, old.expires = new.not_before, new.expires
        routes, after = self._routes, self._after
        for name in self._gone:
            routes._digests.pop(name, None)
        routes._digests.update(self._digests)
        for digest in self._before:
            del routes._grants[digest]
        routes._grants.update(after)
        return {grant for digest, grant in self._before.items() if after.get(digest) is not grant}


def _grant(tenant: str, enabled: bool, token: Token) -> Grant:
    return Grant(
        tenant,
        read_only=token.scope is Scope.READ_ONLY,
        not_before=token.not_before.timestamp() if token.not_before else None,
        expires=token.expires.timestamp() if token.expires else None,
        label=token.label,
        enabled=enabled,
    )
