"""`fabric`: one executable for agent, operator and development."""

from __future__ import annotations

import sys

import click

from fabric import __version__
from fabric.cli.lazy_group import LazyGroup
from fabric.compiled_methods import keep_compiled
from fabric.errors import FabricError, Outcome

COMMANDS = (
    "agent",
    "backup",
    "capacity",
    "completion",
    "config",
    "dev",
    "doctor",
    "events",
    "explain",
    "help",
    "init",
    "join",
    "leaders",
    "members",
    "metrics",
    "node",
    "ping",
    "rebalance",
    "recover",
    "restore",
    "state",
    "token",
    "version",
    "voter-process",
    "voters",
    "why",
    "why-not",
)


@click.group(
    cls=LazyGroup,
    package="fabric.cli",
    names=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="fabric", message="%(prog)s %(version)s")
def cli() -> None:
    """Fabric: a cloud with no controller. Every machine runs one agent; together they are the cloud.

    Try it on this machine: `fabric dev up`. On real machines: `fabric init` on the first, `fabric token
    create` there, `fabric join TOKEN` on the others, `fabric agent` on each.
    """


def main() -> None:
    """Exit 0: done, 1: refused or failed, 2: misused."""
    keep_compiled()
    try:
        code = cli(prog_name="fabric", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except FabricError as error:
        click.echo(f"Error: {error}", err=True)
        if error.outcome is Outcome.UNKNOWN:
            click.echo("hint: it may have been done; look before you repeat it", err=True)
        sys.exit(1)
    except OSError as error:  # a file or a socket said no; which, is all that helps
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
        sys.exit(1)
    if isinstance(code, int):  # a command that looked and found what is not well (click.exceptions.Exit)
        sys.exit(code)


if __name__ == "__main__":
    main()
