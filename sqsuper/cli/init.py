"""`sqsuper init`: a commented configuration and a first tenant."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from shlex import quote

import click

from sqsuper import tokens
from sqsuper.cli.entries import NewTenant, render
from sqsuper.cli.errors import CommandError, RefusedError
from sqsuper.cli.files import make_private, write_new
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import emit, say
from sqsuper.config.model import SEARCHED
from sqsuper.config.overlay import TENANTS_DIR
from sqsuper.config.values import parse_tenant_name

GATEWAY_PORT, ADMIN_PORT, TENANT_PORT = 1337, 1338, 7001
_TEMPLATE = "tenants.yaml"


def _name(_context: click.Context, _option: click.Parameter, given: str) -> str:
    try:
        return parse_tenant_name(given)
    except ValueError as error:
        raise click.BadParameter(f"a tenant's name is {error}") from None


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--tenant", default="alice", show_default=True, callback=_name)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=GATEWAY_PORT,
    show_default=True,
    help="Where users' requests come in.",
)
@click.option(
    "--admin-port",
    type=click.IntRange(1, 65535),
    default=ADMIN_PORT,
    show_default=True,
    help="Where the status page and the admin API are.",
)
@common
@pass_invocation
def init(
    invocation: Invocation, file: Path | None, tenant: str, port: int, admin_port: int
) -> None:
    """Write FILE (conf/tenants.yaml) with all comments, and a first tenant beside it.

    The tenant's token is printed now and never again; the file keeps its digest. What exists
    is not touched.
    """
    target = file or invocation.config or Path(SEARCHED[0])
    if port == admin_port:
        raise click.UsageError("--port and --admin-port must differ")
    if target.suffix.lower() in (".json", ".toml"):
        raise click.UsageError("the comments are YAML: name a file that ends in .yaml")
    token = tokens.make()
    entry = target.parent / TENANTS_DIR / f"{tenant}.yaml"
    _write(
        target, entry, template(port, admin_port), render(first(tenant, token), "`sqsuper init`")
    )
    url = f"http://127.0.0.1:{port}"
    if invocation.json:
        emit(
            {
                "file": str(target),
                "tenant_id": tenant,
                "tenant_file": str(entry),
                "api_key": token,
                "url": url,
            }
        )
        return
    run = "sqsuper run" if str(target) == SEARCHED[0] else f"sqsuper run -c {quote(str(target))}"
    for line in steps(target, entry, tenant, token=token, url=url, run=run):
        say(line)


def template(port: int, admin_port: int) -> str:
    """Return the commented configuration with these ports of the loopback."""
    text = files("sqsuper.cli").joinpath(_TEMPLATE).read_text("utf-8")
    return text.replace(f"tcp:{GATEWAY_PORT}:", f"tcp:{port}:").replace(
        f"tcp:{ADMIN_PORT}:", f"tcp:{admin_port}:"
    )


def first(name: str, token: str) -> NewTenant:
    """Return the first tenant, with the token's digest alone."""
    return NewTenant(name, tokens.digest(token), label="first")


def steps(
    target: Path, entry: Path, tenant: str, *, token: str, url: str, run: str
) -> tuple[str, ...]:
    """Return what to do next, line by line."""
    scroll = f"{url}/api/v2/{{}}?p=notes&c=1.1.1/1.1.1/1.1.1"
    curl = 'curl -H "Authorization: Bearer $TOKEN"'
    program, _, named = run.partition(" run")
    return (
        f"wrote {target} and {entry}",
        "",
        f"{tenant}'s token, shown this once:",
        f"  {token}",
        "",
        "start the service:",
        f"  {run}",
        "",
        "in another terminal, write a scroll and read it back:",
        f"  export TOKEN={token}",
        f"  {curl} --data-binary 'Hello, phext' '{scroll.format('update')}'",
        f"  {curl} '{scroll.format('select')}'",
        "",
        "a second tenant, while it runs:",
        f"  {program} tenant add{named} bob",
    )


def _write(target: Path, entry: Path, text: str, tenant: str) -> None:
    for file in (target, entry):
        if os.path.lexists(file):
            raise RefusedError(f"{file} is there already; nothing was changed")
    try:
        make_private(target.parent)
        make_private(entry.parent)
        write_new(entry, tenant.encode())
        try:
            write_new(target, text.encode())
        except OSError:
            entry.unlink()
            raise
    except FileExistsError as error:
        raise RefusedError(f"{error.filename2 or error.filename} is there already") from None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
