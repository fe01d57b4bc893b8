"""`sqsuper logs`: what a tenant's instance printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from sqsuper.cli.asking import client_of, items_of, tenant_argument
from sqsuper.cli.client import Client, tenant_path
from sqsuper.cli.errors import ServiceError
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import emit, moment, say

MAX_LINES = 10_000


@click.command()
@tenant_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, MAX_LINES),
    default=100,
    show_default=True,
    help="So many of the last lines.",
)
@click.option("--times", is_flag=True, help="Put each line's time before it.")
@common
@pass_invocation
def logs(invocation: Invocation, tenant: str, *, follow: bool, lines: int, times: bool) -> None:
    """Print the last lines of TENANT's log; with --json an object each."""
    client, path = client_of(invocation), tenant_path(tenant, "logs")
    for line in _followed(client, path, lines) if follow else _last(client, path, lines):
        if invocation.json:
            emit(line)
            continue
        at, text = line.get("at"), str(line.get("text", ""))
        say(f"{moment(at)} {text}" if times and isinstance(at, (int, float)) else text)


def _last(client: Client, path: str, lines: int) -> list[dict[str, Any]]:
    return items_of(client.get(path, lines=lines), "lines")


def _followed(client: Client, path: str, lines: int) -> Iterator[dict[str, Any]]:
    for text in client.lines(path, lines=lines, follow=1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            raise ServiceError("the service's answer holds no lines")
        yield line
