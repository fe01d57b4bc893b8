"""`sqsuper start|stop|restart|reset|why`: one tenant's instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from sqsuper.cli.asking import client_of, names, object_of, tenant_argument
from sqsuper.cli.client import tenant_path
from sqsuper.cli.errors import CommandError
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import colour_of, emit, moment, say

# What the API tells in seconds since the epoch.
_MOMENTS = frozenset(
    {"at", "since", "next_try", "last_active", "last_used", "not_before", "expires"}
)


def acting(action: str, about: str) -> click.Command:
    """Return a command that has the service do `action` to a tenant; `about` is its help."""

    @click.command(action, help=about)
    @tenant_argument
    @common
    @pass_invocation
    def command(invocation: Invocation, tenant: str) -> None:
        act(invocation, tenant, action)

    return command


def act(invocation: Invocation, tenant: str, action: str) -> None:
    """Have the service do `action` to a tenant, and print the state that it is in then."""
    answer = object_of(client_of(invocation).call("POST", tenant_path(tenant, action)))
    if invocation.json:
        emit(answer)
        return
    state = str(answer.get("state", action))
    say(f"{answer.get('tenant_id', tenant)}: {state}", colour_of(state))


start = acting("start", "Start TENANT's instance now, also one that was stopped by hand.")
stop = acting("stop", "Drain and stop TENANT's instance, and keep it stopped.")
reset = acting("reset", "Forget TENANT's failures, so that it may start again at once.")


@click.command()
@click.argument("tenant", required=False, shell_complete=names)
@click.option("--all", "everyone", is_flag=True, help="All that run, some at a time.")
@click.option(
    "--max-unavailable",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many at a time, with --all.",
)
@common
@pass_invocation
def restart(
    invocation: Invocation, tenant: str | None, everyone: bool, max_unavailable: int
) -> None:
    """Restart TENANT's instance, or with --all all of them; requests are held meanwhile."""
    if everyone == (tenant is not None):
        raise click.UsageError("give a TENANT, or --all")
    if tenant is not None:
        act(invocation, tenant, "restart")
        return
    body = {"max_unavailable": max_unavailable}
    client = client_of(invocation)
    answer = object_of(client.call("POST", "/api/v2/admin/restart", body, patient=True))
    if invocation.json:
        emit(answer)
    else:
        for what in ("restarted", "skipped", "failed", "left"):
            names = answer.get(what) or []
            if names:
                say(f"{what}: {', '.join(map(str, names))}")
    if answer.get("failed"):
        raise CommandError(f"{answer['failed'][0]} did not come up again: ask `sqsuper why`")


@click.command()
@tenant_argument
@common
@pass_invocation
def why(invocation: Invocation, tenant: str) -> None:
    """Say why TENANT is in its state: what happened, and what happens next."""
    answer = client_of(invocation).get(tenant_path(tenant, "why"))
    if invocation.json:
        emit(answer)
        return
    for line in lines_of(answer):
        say(line)


def lines_of(value: Any, indent: str = "") -> Iterator[str]:
    """Give an answer line by line, `key: value`; nested values are indented."""
    if isinstance(value, dict):
        for key, one in value.items():
            if isinstance(one, (dict, list)) and one:
                yield f"{indent}{key}:"
                yield from lines_of(one, indent + "  ")
            else:
                yield f"{indent}{key}: {text_of(one, key)}"
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, dict):
                yield f"{indent}- {', '.join(f'{k}: {text_of(v, k)}' for k, v in one.items())}"
            else:
                yield f"{indent}- {text_of(one)}"
    else:
        yield indent + text_of(value)


def text_of(value: Any, key: str = "") -> str:
    """Return a value of JSON as people read it; the API's times, by their keys, as such."""
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in _MOMENTS and isinstance(value, (int, float)):
        return moment(value)
    return str(value)
