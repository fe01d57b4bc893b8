"""The service that a command asks, and completion of tenants' names by it."""

from __future__ import annotations

import os
from typing import Any

import click

from sqsuper.cli.client import TENANTS, Client
from sqsuper.cli.errors import CommandError, ServiceError
from sqsuper.cli.finding import access, find_configuration
from sqsuper.cli.options import Invocation

_COMPLETION_TIMEOUT = 2.0


def client_of(invocation: Invocation, timeout: float | None = None) -> Client:
    """Return a client of the service of the configuration that is found. Raises CommandError."""
    found = access(find_configuration(invocation.config, os.environ), os.environ)
    return Client(found) if timeout is None else Client(found, timeout)


def tenants_of(answer: Any) -> list[dict[str, Any]]:
    """Return the tenants of an answer that lists them. Raises ServiceError."""
    return items_of(answer, "tenants")


def items_of(answer: Any, key: str) -> list[dict[str, Any]]:
    """Return the objects of an answer, a list or one under `key`. Raises ServiceError."""
    listed = answer.get(key) if isinstance(answer, dict) else answer
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ServiceError(f"the service's answer holds no list of {key}")
    return listed


def object_of(answer: Any) -> dict[str, Any]:
    """Return an answer that is one object. Raises ServiceError."""
    if not isinstance(answer, dict):
        raise ServiceError("the service's answer is no object")
    return answer


def names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Return the running service's tenants, for the shell's completion."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415

    try:
        client = client_of(context.find_object(Invocation) or Invocation(), _COMPLETION_TIMEOUT)
        names = [str(one.get("tenant_id")) for one in tenants_of(client.get(TENANTS))]
    except CommandError:
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


tenant_argument = click.argument("tenant", shell_complete=names)
