"""`fabric help`: what `--help` says, for whoever asks for it by that name."""

from __future__ import annotations

import click


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help(context: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a command: `fabric help node drain`."""
    at = context.find_root()
    for word in words:
        group = at.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{at.command_path} has no commands of its own", at)
        _, command, _ = group.resolve_command(at, [word])
        assert command is not None, "what cannot be resolved has failed"
        at = click.Context(command, info_name=word, parent=at)
    click.echo(at.get_help())
