from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from sqsuper.config.model import Origin, Scope, Tenant, Token
from sqsuper.gateway.routes import Routes
from sqsuper.http1.credentials import digest


def test_every_token_leads_to_its_tenant() -> None:
    start = datetime(2027, 1, 1, tzinfo=timezone.utc)
    end = datetime(2028, 1, 1, tzinfo=timezone.utc)
    origin = Origin(Path("x"), 1)
    alice = Tenant(
        "alice",
        (
            Token(digest(b"a")),
            Token(digest(b"b"), "laptop", Scope.READ_ONLY, not_before=start, expires=end),
        ),
        Path("/a"),
        origin,
    )
    bob = Tenant("bob", (Token(digest(b"c")),), Path("/b"), origin, enabled=False)
    lookup = Routes.of((alice, bob)).lookup
    assert lookup(digest(b"d")) is None
    first, second, third = (lookup(digest(token)) for token in (b"a", b"b", b"c"))
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.tenant, first.read_only, first.enabled) == ("alice", False, True)
    assert (second.tenant, second.read_only, second.label) == ("alice", True, "laptop")
    assert not second.valid_at(start.timestamp() - 1)
    assert second.valid_at(start.timestamp())
    assert not second.valid_at(end.timestamp())
    assert (third.tenant, third.enabled) == ("bob", False)


def tenant(name: str, *tokens: bytes, enabled: bool = True) -> Tenant:
    known = tuple(Token(digest(token)) for token in tokens)
    return Tenant(name, known, Path("/x"), Origin(Path("x"), 1), enabled=enabled)


class TestChange:
    def test_a_revoked_token_leads_nowhere_and_its_grant_is_returned(self) -> None:
        routes = Routes.of((tenant("alice", b"a", b"b"), tenant("bob", b"c")))
        lookup = routes.lookup
        revoked, kept, other = (lookup(digest(token)) for token in (b"a", b"b", b"c"))
        assert routes.change([tenant("alice", b"b", b"d")], []) == {revoked}
        assert lookup(digest(b"a")) is None
        assert lookup(digest(b"b")) is kept
        assert lookup(digest(b"c")) is other
        new = lookup(digest(b"d"))
        assert new is not None
        assert new.tenant == "alice"

    def test_a_grant_that_stays_is_revoked_by_a_later_change(self) -> None:
        routes = Routes.of((tenant("alice", b"a"),))
        begun_with = routes.lookup(digest(b"a"))
        assert routes.change([tenant("alice", b"a", enabled=False)], []) == set()
        assert begun_with is not None
        assert not begun_with.enabled
        assert routes.change([tenant("alice")], []) == {begun_with}

    def test_a_tenant_that_is_gone_takes_its_tokens_with_it(self) -> None:
        routes = Routes.of((tenant("alice", b"a"), tenant("bob", b"c")))
        alices = routes.lookup(digest(b"a"))
        assert routes.change([], ["alice", "nobody"]) == {alices}
        assert routes.lookup(digest(b"a")) is None
        assert routes.lookup(digest(b"c")) is not None

    def test_a_token_that_moves_to_another_tenant_admits_nobody_to_the_first(self) -> None:
        routes = Routes.of((tenant("alice", b"a"), tenant("bob", b"c")))
        alices = routes.lookup(digest(b"a"))
        assert routes.change([tenant("bob", b"c", b"a"), tenant("alice")], []) == {alices}
        moved = routes.lookup(digest(b"a"))
        assert moved is not None
        assert moved.tenant == "bob"
