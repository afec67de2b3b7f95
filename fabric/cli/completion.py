"""`fabric completion`: tab completion for the shells people use."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script, e.g. `fabric completion bash > /etc/bash_completion.d/fabric`."""
    kind = get_completion_class(shell)
    assert kind is not None
    root = context.find_root()
    click.echo(kind(root.command, {}, "fabric", "_FABRIC_COMPLETE").source())
