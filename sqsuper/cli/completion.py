"""`sqsuper completion`: what makes a shell complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from sqsuper.cli.options import common


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL, to be read at its start.

    \b
    bash:  eval "$(sqsuper completion bash)"                 in ~/.bashrc
    zsh:   eval "$(sqsuper completion zsh)"                  in ~/.zshrc
    fish:  sqsuper completion fish | source                  in config.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    root = context.find_root().command
    click.echo(found(root, {}, "sqsuper", "_SQSUPER_COMPLETE").source())
