"""`fabric version`."""

from __future__ import annotations

import platform

import click

from fabric import __version__
from fabric.cli.output import json_option, print_json


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version of this program."""
    if as_json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        click.echo(f"fabric {__version__}")
