"""The `sqsuper` command: its table of commands, each imported when it is called, and its end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn, cast

import click

from sqsuper import __version__
from sqsuper.cli.errors import CommandError
from sqsuper.cli.options import Invocation, common
from sqsuper.config.errors import one_line

# name: (module of sqsuper.cli, attribute, what it does)
_FILES = {
    "init": ("init", "init", "Write a configuration and a first tenant."),
    "run": ("run", "run", "Run the service in the foreground."),
    "check": ("check", "check", "Say all that is wrong with a configuration."),
    "import": ("importing", "import_", "Take over tenants from what you have."),
    "backup": ("backup", "backup", "Back up tenants, or list the backups there are."),
    "restore": ("backup", "restore", "Put tenants' data back as a backup has it."),
    "verify": ("backup", "verify", "Check that a backup is whole."),
    "doctor": ("doctor", "doctor", "Look at the installation; say what would mend it."),
    "host": ("host", "host", "Serve one data directory, as `sq host`."),
    "route": ("route", "route", "Serve a router-config.json through the gateway."),
    "completion": ("completion", "completion", "Print the shell's completion script."),
    "version": ("version", "version", "Print the version."),
}
_SERVICE = {
    "status": ("status", "status", "Show all tenants; --watch keeps on."),
    "tenant": ("tenant", "tenant", "Add, show, list, disable, enable, remove tenants."),
    "token": ("token", "token", "Make, list, revoke, rotate a tenant's tokens."),
    "start": ("instance", "start", "Start a tenant's instance."),
    "stop": ("instance", "stop", "Stop a tenant's instance."),
    "restart": ("instance", "restart", "Restart a tenant's instance."),
    "reset": ("instance", "reset", "Let a failed tenant try again at once."),
    "why": ("instance", "why", "Say why a tenant is in its state."),
    "logs": ("logs", "logs", "Print a tenant's last log lines; -f follows."),
    "page": ("page", "page", "Print a link that signs in to the status page."),
    "plan": ("reload", "plan", "Show what a reload would change."),
    "reload": ("reload", "reload", "Read the configuration again, now."),
}
_SECTIONS = (("Commands on files", _FILES), ("Commands on the running service", _SERVICE))
_ALL = {**_FILES, **_SERVICE}


class _Lazy(click.Group):
    """Imports a command's module when that command is called, and no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_ALL)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = _ALL.get(cmd_name)
        if found is None:
            return None
        module = import_module(f"sqsuper.cli.{found[0]}")
        return cast("click.Command", getattr(module, found[1]))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in _SECTIONS:
            with formatter.section(title):
                formatter.write_dl([(name, about) for name, (_, _, about) in commands.items()])


@click.group(
    cls=_Lazy,
    epilog="The configuration is the file of -c, or $SQSUPER_CONFIG, or the first of"
    " ./conf/tenants.yaml and /etc/sqsuper/tenants.yaml that exists. Exit status: 0 done,"
    " 1 failed or found wrong, 2 wrong usage, 3 the service does not answer, 4 the admin token"
    " is not taken, 5 no such tenant or token, 6 refused, 7 the service failed.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@common
def sqsuper() -> None:
    """One authenticated port for many tenants' SQ, the phext database."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end with its exit status."""
    invocation = Invocation()
    try:
        given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
        status: Any = sqsuper.main(
            given, prog_name="sqsuper", standalone_mode=False, obj=invocation
        )
    except click.ClickException as error:
        _explain_usage(error, invocation)
        raise SystemExit(error.exit_code) from None
    except click.Abort:
        raise SystemExit(130) from None
    except CommandError as error:
        _explain(str(error), error.code, invocation)
        raise SystemExit(error.status) from None
    except BrokenPipeError:
        # Whoever read our output has had enough; Python would complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(0) from None
    raise SystemExit(status if isinstance(status, int) else 0)


def _explain_usage(error: click.ClickException, invocation: Invocation) -> None:
    if invocation.json:
        _explain(error.format_message(), "usage", invocation)
    else:
        error.show()


def _explain(message: str, code: str, invocation: Invocation) -> None:
    if invocation.json:
        click.echo(json.dumps({"error": {"code": code, "message": message}}), err=True)
        return
    for line in message.splitlines():
        click.echo(f"sqsuper: {one_line(line)}", err=True)
