from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from sqsuper.config.model import Config, Origin, Scope, Tenant, Token
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
    config = Config(Path("x"), Path("/d"), Path("/r"), tenants=(alice, bob))
    lookup = Routes.of(config).lookup
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
