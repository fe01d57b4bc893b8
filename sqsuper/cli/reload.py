"""`sqsuper plan` and `sqsuper reload`: the configuration on disk, and the one that is in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from sqsuper.cli.asking import client_of, object_of
from sqsuper.cli.instance import lines_of
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import emit, say


@click.command()
@common
@pass_invocation
def plan(invocation: Invocation) -> None:
    """Show what a reload would change, and change nothing."""
    answer = object_of(client_of(invocation).get("/api/v2/admin/plan"))
    if invocation.json:
        emit(answer)
        return
    for line in told(answer):
        say(line)


@click.command()
@common
@pass_invocation
def reload(invocation: Invocation) -> None:
    """Read the configuration again, now. One that is wrong is refused, and the old one stays."""
    answer = client_of(invocation).call("POST", "/api/v2/reload")
    if invocation.json:
        emit(answer)
        return
    for line in lines_of(answer) if answer else ("reloaded",):
        say(line)


def told(plan: Mapping[str, Any]) -> Iterator[str]:
    """Give a plan for people: a line for each change, and how many there are."""
    lines = plan.get("lines")
    if isinstance(lines, list):
        yield from map(str, lines)
    yield str(plan.get("summary", "nothing is said of what would change"))
