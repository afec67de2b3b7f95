"""`fabric join`: one more node of an existing fabric."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
from click.core import ParameterSource

from fabric.cli.config import config_option
from fabric.cli.init import load_or_write, node_facts
from fabric.compiled_methods import is_none_kept
from fabric.config import DEFAULT_PATH
from fabric.errors import ConfigError
from proto.errors import WireError
from proto.join import TOKEN_CHARS_MAX, parse_token_text


@click.command()
@click.argument("token")
@config_option
@click.pass_context
def join(context: click.Context, token: str, path: Path) -> None:
    """Make this machine a node of the fabric that made TOKEN (`fabric token create`).

    TOKEN may be - to read it from standard input, which keeps it out of the shell's history.
    """
    from fabric.runtime.clock import SystemClock  # late: `fabric join --help` needs none of it
    from fabric.runtime.founding import join as ask_to_join
    from fabric.runtime.founding import prepare_directory

    text = sys.stdin.read(TOKEN_CHARS_MAX + 1) if token == "-" else token  # noqa: S105
    try:
        parsed = parse_token_text(text)
    except WireError as error:
        if error.reason == "not_a_token":
            raise click.UsageError(f"TOKEN: {error.detail}") from error
        raise click.UsageError(
            "TOKEN: the join token is damaged, or an earlier version made it; nothing was done. Copy it "
            "whole, or make a new one with `fabric token create`"
        ) from error
    if context.get_parameter_source("path") is ParameterSource.COMMANDLINE and not path.exists():
        raise ConfigError(
            f"{path}: does not exist; nothing was done. Without --config this writes a commented one to "
            f"{DEFAULT_PATH}"
        )
    config = load_or_write(path)
    prepare_directory(config.state_dir)
    identity = asyncio.run(ask_to_join(config.state_dir, node_facts(config), parsed, SystemClock()))
    click.echo(f"joined as {config.node_name} ({identity.node_id})", err=True)
    click.echo(f"next: start `fabric agent --config {path}`", err=True)
    if is_none_kept():  # the agent's first start finds what it needs, then, and is as quick as later ones
        import fabric.agent  # noqa: F401
