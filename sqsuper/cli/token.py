"""`sqsuper token`: a tenant's tokens. A new one is printed once; others are known by digest."""

from __future__ import annotations

from typing import Any

import click

from sqsuper.cli.asking import client_of, items_of, object_of, tenant_argument
from sqsuper.cli.client import tenant_path
from sqsuper.cli.errors import MissingError
from sqsuper.cli.instance import text_of
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import complain, emit, say, show_table, span

_FIELDS = ("label", "digest8", "scope", "state", "age", "not_before", "expires", "last_used")


@click.group()
@common
def token() -> None:
    """Make, list, revoke, rotate a tenant's tokens.

    TOKEN is a label, or the first eight hex digits of a token's SHA-256 digest.
    """


@token.command()
@tenant_argument
@click.option("--label", help="What it is for, such as laptop.")
@click.option("--scope", type=click.Choice(["rw", "ro"]), help="ro: it only reads.")
@click.option("--expires", help='When it ends: "2027-01-01T00:00:00Z", or 720h from now.')
@click.option("--not-before", help="When it begins, likewise.")
@common
@pass_invocation
def new(invocation: Invocation, /, tenant: str, **given: str | None) -> None:
    """Make a new token for TENANT. It is printed now and never again."""
    body = {key: value for key, value in given.items() if value is not None}
    answer = client_of(invocation).call("POST", tenant_path(tenant, "tokens"), body)
    _tell(invocation, tenant, object_of(answer))


@token.command("list")
@tenant_argument
@common
@pass_invocation
def list_(invocation: Invocation, tenant: str) -> None:
    """List TENANT's tokens, by label and digest."""
    tokens = items_of(client_of(invocation).get(tenant_path(tenant, "tokens")), "tokens")
    if invocation.json:
        emit({"tenant_id": tenant, "tokens": tokens})
        return
    show_table(
        tuple(field.upper().replace("_", " ") for field in _FIELDS),
        [tuple(_cell(field, one.get(field)) for field in _FIELDS) for one in tokens],
    )


@token.command()
@tenant_argument
@click.argument("token")
@common
@pass_invocation
def revoke(invocation: Invocation, tenant: str, token: str) -> None:
    """Revoke TOKEN: what it is used for is cut within a second."""
    answer = client_of(invocation).call("DELETE", tenant_path(tenant, "tokens", token))
    if invocation.json:
        emit(answer if answer is not None else {"tenant_id": tenant, "revoked": token})
    else:
        say(f"{tenant}: {token} is revoked")


@token.command()
@tenant_argument
@click.argument("token", required=False)
@click.option("--overlap", help="How long the old one stays valid, such as 24h or 0s.")
@common
@pass_invocation
def rotate(invocation: Invocation, tenant: str, token: str | None, overlap: str | None) -> None:
    """Make a new token in the place of TOKEN, which stays valid for the overlap.

    TOKEN may be left out when the tenant has one only.
    """
    client = client_of(invocation)
    named = token
    if named is None:
        named = _only(tenant, items_of(client.get(tenant_path(tenant, "tokens")), "tokens"))
    body = {} if overlap is None else {"overlap": overlap}
    answer = client.call("POST", tenant_path(tenant, "tokens", named, "rotate"), body)
    _tell(invocation, tenant, object_of(answer))


def _only(tenant: str, tokens: list[dict[str, Any]]) -> str:
    alive = [one for one in tokens if one.get("state") not in ("revoked", "expired")]
    if len(alive) != 1:
        raise MissingError(f"{tenant} has {len(alive)} tokens: name the one to be rotated")
    return str(alive[0].get("digest8"))


def _tell(invocation: Invocation, tenant: str, answer: dict[str, Any]) -> None:
    if invocation.json:
        emit(answer)
        return
    # On the other stream, so that `TOKEN=$(sqsuper token new NAME)` works.
    complain(f"{tenant}'s new token, shown this once:")
    say(str(answer.get("token")))


def _cell(field: str, value: Any) -> str:
    if field == "age" and isinstance(value, (int, float)):
        return span(value)
    return text_of(value, field)
