"""`fabric rebalance`: which servers to move, so that hosts are as busy as each other."""

from __future__ import annotations

import click

from fabric.cli.output import json_option, print_json, print_table
from fabric.cli.target import with_client
from fabric.runtime.local_socket import LocalClient

MOVES, MOVES_MAX = 10, 100  # `control.rebalance` has the same bound
ANSWER_TIMEOUT_S = 60.0
_WHY = {"host_disabled": "its host is disabled", "uneven": "its host is busier"}


@click.command()
@click.option(
    "--plan", "is_plan", is_flag=True, help="Only propose; needed, for nothing else is done by itself."
)
@click.option(
    "--max-moves",
    type=click.IntRange(1, MOVES_MAX),
    default=MOVES,
    show_default=True,
    help="At most so many.",
)
@json_option
@with_client
def rebalance(client: LocalClient, is_plan: bool, max_moves: int, as_json: bool) -> None:
    """Propose moves that empty disabled hosts and even out the load of the others."""
    if not is_plan:
        raise click.UsageError(
            "say --plan: it shows what could be moved where; moving is left to `openstack server migrate`"
        )
    found = client.get(f"/placement/rebalance?max_moves={max_moves}", timeout_s=ANSWER_TIMEOUT_S)
    if as_json:
        print_json(found)
        return
    if found["moves"]:
        print_table(
            ("SERVER", "FROM", "TO", "WHY", "LOAD OF FROM", "LOAD OF TO"),
            [
                (
                    move["name"],
                    move["from"],
                    move["to"],
                    _WHY.get(move["why"], move["why"]),
                    _change(move["load"]["from"]),
                    _change(move["load"]["to"]),
                )
                for move in found["moves"]
            ],
        )
        click.echo(f"spread of the load (processors, memory): {_change(found['spread'])}")
    else:
        click.echo(
            "nothing to move: no disabled host has servers that could leave, and no move would even out"
        )
    for stuck in found["stuck"]:
        click.echo(
            f"{stuck['name']} cannot leave {stuck['host']}: `fabric why {stuck['server']}` tells why",
            err=True,
        )
    if found["partial"]:
        click.echo("not all servers were looked at; plan again after these moves", err=True)
    click.echo(found["note"], err=True)


def _change(load: dict[str, dict[str, float]]) -> str:
    """Processors and memory, in parts of what may be claimed."""
    before, after = load["before"], load["after"]
    return f"{_percent(before)} -> {_percent(after)}"


def _percent(load: dict[str, float]) -> str:
    return "/".join(f"{load[name] * 100:.0f}%" for name in ("VCPU", "MEMORY_MB"))
