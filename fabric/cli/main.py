"""`fabric`: one executable for agent, operator and development."""

from __future__ import annotations

import sys

import click

from fabric.cli.agent import agent
from fabric.cli.capacity import capacity
from fabric.cli.completion import completion
from fabric.cli.config import config
from fabric.cli.dev import dev
from fabric.cli.events import events
from fabric.cli.init import init
from fabric.cli.join import join
from fabric.cli.leaders import leaders
from fabric.cli.members import members
from fabric.cli.token import token
from fabric.cli.version import version
from fabric.errors import FabricError, Outcome


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Fabric: a cloud with no controller. Every machine runs one agent; together they are the cloud.

    Try it on this machine: `fabric dev up`. On real machines: `fabric init` on the first, `fabric token
    create` there, `fabric join TOKEN` on the others, `fabric agent` on each.
    """


for command in (
    agent,
    capacity,
    completion,
    config,
    dev,
    events,
    init,
    join,
    leaders,
    members,
    token,
    version,
):
    cli.add_command(command)


def main() -> None:
    """Exit 0: done, 1: refused or failed, 2: misused."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except FabricError as error:
        click.echo(f"error: {error}", err=True)
        if error.outcome is Outcome.UNKNOWN:
            click.echo("hint: it may have been done; look before you repeat it", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
