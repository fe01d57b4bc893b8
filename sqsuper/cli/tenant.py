"""`sqsuper tenant`: tenants made, shown, switched on and off, removed."""

from __future__ import annotations

from typing import Any

import click

from sqsuper.cli.asking import client_of, object_of, tenant_argument, tenants_of
from sqsuper.cli.client import TENANTS, tenant_path
from sqsuper.cli.instance import act, lines_of, text_of
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.status import state_of
from sqsuper.cli.terminal import emit, say, show_table


@click.group()
@common
def tenant() -> None:
    """Add, show, list, disable, enable, remove tenants."""


@tenant.command()
@click.argument("name")
@click.option("--quota-mb", type=click.IntRange(min=1), help="MiB of data it may have.")
@click.option("--email", help="Whom to write to about it.")
@click.option("--port", help="A port of its own, or `none`; by default the next that is free.")
@common
@pass_invocation
def add(
    invocation: Invocation, name: str, *, quota_mb: int | None, email: str | None, port: str | None
) -> None:
    """Add a tenant NAME. Its token is printed now and never again."""
    body: dict[str, Any] = {"tenant_id": name}
    if quota_mb is not None:
        body["quota_mb"] = quota_mb
    if email is not None:
        body["admin_email"] = email
    if port is not None:
        body["port"] = _port(port)
    answer = object_of(client_of(invocation).call("POST", f"{TENANTS}/add", body))
    if invocation.json:
        emit(answer)
        return
    port_told = f", port {answer['port']}" if answer.get("port") else ""
    say(f"{answer.get('tenant_id', name)}: added{port_told}, data in {answer.get('data_dir')}")
    say("its token, shown this once:")
    say(f"  {answer.get('api_key')}")


def _port(text: str) -> int | str:
    if text == "none":
        return text
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535:
        return int(text)
    raise click.BadParameter("a port from 1 to 65535, or none", param_hint="--port")


@tenant.command()
@tenant_argument
@common
@pass_invocation
def show(invocation: Invocation, tenant: str) -> None:
    """Show all that is known of TENANT."""
    answer = object_of(client_of(invocation).get(tenant_path(tenant, "stats")))
    if invocation.json:
        emit(answer)
        return
    # Ten minutes of samples are for programs.
    for line in lines_of({key: value for key, value in answer.items() if key != "recent"}):
        say(line)


@tenant.command("list")
@common
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the tenants, with where each stands."""
    tenants = tenants_of(client_of(invocation).get(TENANTS))
    if invocation.json:
        emit({"tenants": tenants})
        return
    show_table(
        ("TENANT", "STATE", "ENGINE", "PORT", "STANDS IN"),
        [
            (
                text_of(one.get("tenant_id")),
                state_of(one),
                text_of(one.get("engine")),
                text_of(one.get("port")),
                _origin(one.get("origin")),
            )
            for one in tenants
        ],
    )


def _origin(origin: Any) -> str:
    if not isinstance(origin, dict):
        return "-"
    line = f":{origin['line']}" if origin.get("line") else ""
    changed = " (changed by the overlay)" if origin.get("overlay") else ""
    return f"{origin.get('file', '-')}{line}{changed}"


@tenant.command()
@tenant_argument
@common
@pass_invocation
def disable(invocation: Invocation, tenant: str) -> None:
    """Disable TENANT: its tokens get 403, its instance is stopped, its data stays."""
    act(invocation, tenant, "disable")


@tenant.command()
@tenant_argument
@common
@pass_invocation
def enable(invocation: Invocation, tenant: str) -> None:
    """Enable TENANT again."""
    act(invocation, tenant, "enable")


@tenant.command()
@tenant_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
@pass_invocation
def remove(invocation: Invocation, tenant: str, yes: bool) -> None:
    """Remove TENANT. Its tokens end at once; its data is archived, not deleted."""
    if not yes:
        click.confirm(f"Remove {tenant!r}?", abort=True, err=True)
    answer = client_of(invocation).call("DELETE", tenant_path(tenant))
    if invocation.json:
        emit(answer if answer is not None else {"tenant_id": tenant})
        return
    say(f"{tenant}: removed")
    if isinstance(answer, dict):
        for line in lines_of({k: v for k, v in answer.items() if k not in ("tenant_id", "status")}):
            say(line)
