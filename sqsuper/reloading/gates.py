"""Several that listen, gone over to another configuration together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sqsuper.config.model import Config, Tenant
from sqsuper.slices import Slices


class Listener(Protocol):
    """What has endpoints, as `GatewayService`: see there."""

    async def prepare(
        self, config: Config, changed: Sequence[Tenant], gone: Sequence[str], slices: Slices
    ) -> Any: ...
    async def commit(self, prepared: Any) -> None: ...
    async def withdraw(self, prepared: Any) -> None: ...


class Gates:
    """A `service.Gate` of several: what one of them cannot do is done by none."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = list(listeners)

    async def prepare(
        self, config: Config, changed: Sequence[Tenant], gone: Sequence[str], slices: Slices
    ) -> list[Any]:
        """Prepare all; raises what the first does that cannot, and all is as it was."""
        prepared: list[Any] = []
        try:
            for one in self.listeners:
                prepared.append(await one.prepare(config, changed, gone, slices))
        except BaseException:
            for one, made in zip(self.listeners, prepared, strict=False):
                await one.withdraw(made)
            raise
        return prepared

    async def commit(self, prepared: list[Any]) -> None:
        """Go over to what was prepared."""
        for one, made in zip(self.listeners, prepared, strict=True):
            await one.commit(made)
