"""`fabric agent`: the one process of every machine."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import resources
from pathlib import Path
from typing import NoReturn

import click

from fabric import config as configuration
from fabric.cli.config import config_option


@click.command()
@config_option
@click.option("--api-fd", type=click.IntRange(0), help="Serve the API on this inherited socket.")
@click.option("--print-unit", is_flag=True, help="Print a systemd unit for this agent, and exit.")
def agent(path: Path, api_fd: int | None, print_unit: bool) -> None:
    """Run this machine's agent until it is told to stop. Guests and networks outlive it."""
    if print_unit:
        template = resources.files("fabric.cli").joinpath("fabric-agent.service").read_text()
        command = str(Path(sys.argv[0]).absolute())
        click.echo(template.replace("@FABRIC@", command).replace("@CONFIG@", str(path.absolute())), nl=False)
        return
    from fabric.agent import run_agent  # late: the other commands need none of it and should start fast
    from fabric.runtime import logs

    loaded = configuration.load(path)
    logs.configure(loaded.config.log.level, loaded.config.log.format)
    if api_fd is not None:
        os.set_inheritable(api_fd, False)  # no child of ours may hold the API's port
    if asyncio.run(run_agent(loaded.config, api_fd=api_fd, config_dir=path.absolute().parent)):
        begin_anew(api_fd)


def begin_anew(api_fd: int | None) -> NoReturn:
    """The same process with the same arguments, from its first line on."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if api_fd is not None:
        os.set_inheritable(api_fd, True)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # our own command line
