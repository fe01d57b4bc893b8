"""Going over to another configuration: what is made ready before anything is seen of it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence

import attrs

from sqsuper.config.model import Config, Tenant
from sqsuper.gateway.accesslog import AccessLog
from sqsuper.gateway.doors import Moving
from sqsuper.gateway.routes import Routes, StagedRoutes


class TenantChanges:
    """Tenants that are `changed` (new ones too) or `gone`, and their new routes."""

    def __init__(self, routes: Routes, gone: Sequence[str]) -> None:
        self.gone = gone
        self.changed: dict[str, Tenant] = {}
        self.rated: list[Tenant] = []
        """Those with another rate."""
        self.routes = StagedRoutes(routes)

    def steps(
        self, known: Mapping[str, Tenant], changed: Iterable[Tenant]
    ) -> Generator[None, None, None]:
        """Take the tenants that are changed, from what is `known`; offer a pause after each."""
        rerouted = []
        for tenant in changed:
            before = known.get(tenant.name)
            self.changed[tenant.name] = tenant
            if before is None or before.settings.rate != tenant.settings.rate:
                self.rated.append(tenant)
            if before is None or before.enabled != tenant.enabled or before.tokens != tenant.tokens:
                rerouted.append(tenant)
            yield
        yield from self.routes.steps(rerouted, self.gone)


@attrs.frozen(eq=False)
class Prepared:
    """What `GatewayService.prepare` made: to be committed, or withdrawn."""

    config: Config
    moving: Moving
    access: AccessLog | None
    change: TenantChanges
