"""`sqsuper page`: where the status page is, by a link that signs in once."""

from __future__ import annotations

import os

import click

from sqsuper.cli.client import Client
from sqsuper.cli.errors import RefusedError, ServiceError
from sqsuper.cli.finding import Access, access, find_configuration
from sqsuper.cli.options import Invocation, common, pass_invocation
from sqsuper.cli.terminal import complain, emit, say, span


@click.command()
@common
@pass_invocation
def page(invocation: Invocation) -> None:
    """Print a link to the status page that signs in whoever opens it first."""
    url, seconds = sign_in_link(
        access(find_configuration(invocation.config, os.environ), os.environ)
    )
    if invocation.json:
        emit({"url": url, "expires_in": seconds})
        return
    # On the other stream, so that `xdg-open "$(sqsuper page)"` works.
    complain(f"signs in once, within {span(seconds)}:")
    say(url)


def sign_in_link(found: Access) -> tuple[str, float]:
    """Have the service make a link; return it, and for how many seconds it is good.

    Raises a CommandError: as `Client`, and RefusedError where no browser can open it.
    """
    if found.address.path is not None:
        raise RefusedError(
            f"the page is on the socket {found.address}, which no browser opens;"
            " let admin.listen begin with a tcp: endpoint"
        )
    answer = Client(found).call("POST", "/api/v2/admin/session/link")
    try:
        return f"{found.address.url}{answer['path']}", float(answer["expires_in"])
    except (LookupError, TypeError, ValueError):
        raise ServiceError("the service's answer holds no link") from None
