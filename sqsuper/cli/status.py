"""`sqsuper status`: all tenants at a glance, once or kept up to date."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from sqsuper.cli.asking import client_of, tenants_of
from sqsuper.cli.client import TENANTS, Client
from sqsuper.cli.errors import UnreachableError
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import console, emit, framed, say, show_table, size, span
from sqsuper.config.errors import one_line

COLUMNS = (
    "TENANT",
    "STATE",
    "PORT",
    "PID",
    "UPTIME",
    "RESTARTS",
    "MEMORY",
    "THREADS",
    "REQUESTS",
    "STORAGE",
    "REASON",
)


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Keep it up to date until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between two looks, with --watch.",
)
@common
@pass_invocation
def status(invocation: Invocation, watch: bool, interval: float) -> None:
    """Show every tenant with its state and figures.

    --watch keeps a table up to date on a terminal; elsewhere, and with --json, it prints anew.
    """
    client = client_of(invocation)
    if not watch:
        _show(invocation, tenants_of(client.get(TENANTS)))
    elif invocation.json or not sys.stdout.isatty():
        while True:
            _show(invocation, tenants_of(client.get(TENANTS)))
            sys.stdout.flush()
            time.sleep(interval)
    else:
        _watch(client, interval)


def _show(invocation: Invocation, tenants: Sequence[Mapping[str, Any]]) -> None:
    if invocation.json:
        emit({"tenants": tenants})
        return
    if not tenants:
        say("no tenant yet: `sqsuper tenant add NAME` makes one")
        return
    show_table(COLUMNS, [row_of(tenant) for tenant in tenants])
    say(summary(tenants))


def _watch(client: Client, interval: float) -> None:
    from rich.console import Group  # noqa: PLC0415 - dear to import
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def picture() -> Group:
        try:
            tenants = tenants_of(client.get(TENANTS))
        except UnreachableError as error:
            # It may only be restarted; whoever watches wants to see it come back.
            return Group(Text(one_line(str(error))))
        rows = [row_of(tenant) for tenant in tenants]
        return Group(Text(f"{summary(tenants)}   (Ctrl-C ends)"), framed(COLUMNS, rows))

    with Live(picture(), console=console(), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            live.update(picture(), refresh=True)


def row_of(tenant: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a tenant's cells, by COLUMNS."""
    storage = size(tenant.get("storage_bytes"))
    if tenant.get("quota_bytes"):
        storage += f" of {size(tenant['quota_bytes'])}"
    return (
        str(tenant.get("tenant_id", "-")),
        state_of(tenant),
        _or_dash(tenant.get("port")),
        _or_dash(tenant.get("pid")),
        span(tenant.get("uptime_s")),
        _or_dash(tenant.get("restarts")),
        size(tenant.get("memory_bytes")),
        _or_dash(tenant.get("threads")),
        _or_dash(tenant.get("requests")),
        storage,
        str(tenant.get("reason") or ""),
    )


def state_of(tenant: Mapping[str, Any]) -> str:
    """Return a tenant's state as one word."""
    return "disabled" if tenant.get("enabled") is False else str(tenant.get("state", "-"))


def summary(tenants: Sequence[Mapping[str, Any]]) -> str:
    """Return one line: how many tenants are in which state."""
    counts: dict[str, int] = {}
    for tenant in tenants:
        state = state_of(tenant)
        counts[state] = counts.get(state, 0) + 1
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return f"tenants: {len(tenants)}{f' ({told})' if told else ''}"


def _or_dash(value: Any) -> str:
    return "-" if value is None else str(value)
