"""`fabric voter-process`: what an agent starts for its voter, where that has a process of its own."""

from __future__ import annotations

import asyncio

import click


@click.command("voter-process", hidden=True)
@click.option("--fd", type=click.IntRange(3), required=True, help="The socket to the agent, inherited.")
def voter_process(fd: int) -> None:
    """Run the voter of the agent that started this, until that ends. Not for people."""
    from fabric.runtime.voter_process import run_voter_process  # late: the other commands need none of it

    asyncio.run(run_voter_process(fd))
