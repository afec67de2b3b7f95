"""`fabric voters`: which nodes hold the replicated log, and who leads it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from fabric.cli.output import json_option, print_json, print_table
from fabric.cli.target import NodeName, node_names, with_client
from fabric.runtime.local_socket import LocalClient

_node = click.argument("target", metavar="NODE", type=NodeName(), shell_complete=node_names)

NOBODY = (
    "there are no voters: this fabric's rows live in a database of their own, which is to be kept available"
)


@click.group()
def voters() -> None:
    """See and choose the nodes that hold the fabric's log."""


@voters.command("list")
@json_option
@with_client
def list_voters(client: LocalClient, as_json: bool) -> None:
    """List voters and standbys: who leads, how far each is behind, and what the fabric does about them."""
    found = client.get("/voters")
    if as_json:
        print_json(found)
        return
    if not found["voters"]:
        click.echo(NOBODY)
        return
    print_table(
        ("NODE", "ROLE", "STATE", "ZONE", "BEHIND", "SILENT", "LEVELS", "WISH"),
        [
            (
                row["node"],
                row["role"],
                row["state"],
                row["zone"],
                "-" if row["lag"] is None else row["lag"],
                "-" if row["silent_s"] is None else f"{row['silent_s']:.1f} s",
                row["levels"] or "-",
                row["wish"] or "-",
            )
            for row in found["voters"]
        ],
    )
    _say(found)


def _told(client: LocalClient, target: str, verb: str) -> str:
    """Does it; gives the node's name."""
    return str(client.post(f"/voters/{quote(target, safe='')}/{verb}", {})["name"])


def _say(found: dict[str, Any]) -> None:
    may_fail = found["may_fail"]
    click.echo()
    if may_fail:
        nodes = "any one voter" if may_fail == 1 else f"any {may_fail} voters"
        click.echo(f"changes go on without {nodes}")
    else:
        click.echo("not highly available: losing a voter stops changes until it is back")
    click.echo(f"the fabric is at level {found['level']}")
    for row in found["voters"]:
        if row.get("disk_hangs_s") is not None:
            click.echo(
                f"{row['node']}: its disk has written nothing for {row['disk_hangs_s']:.0f} s", err=True
            )
    for row in found["voters"]:
        if row["halted"]:
            click.echo(f"{row['node']} has halted: {row['halted']}")
            click.echo("    cure: run a newer version there; it goes on from where it is")
    if found["autopilot"]:
        click.echo(f"now: {found['autopilot']}")
    if found["seen_from"] == "here":
        click.echo("the leader cannot be reached: this is what this node knows", err=True)


@voters.command()
@_node
@with_client
def add(client: LocalClient, target: str) -> None:
    """Prefer NODE as a voter. It stands by first, and votes when it has caught up and there is room."""
    name = _told(client, target, "add")
    click.echo(f"{name} is to vote; `fabric voters list` shows how far it is")


@voters.command()
@_node
@with_client
def remove(client: LocalClient, target: str) -> None:
    """Keep NODE from voting. If it votes now, it stops when another has taken its place."""
    name = _told(client, target, "remove")
    click.echo(f"{name} is not to vote; `fabric voters list` shows when it stops")


@voters.command()
@_node
@with_client
def auto(client: LocalClient, target: str) -> None:
    """Forget what was wished of NODE: the fabric chooses by itself again."""
    name = _told(client, target, "auto")
    click.echo(f"whether {name} votes is the fabric's to choose")


@voters.command()
@_node
@with_client
def promote(client: LocalClient, target: str) -> None:
    """Let the standby NODE vote as soon as it has caught up, before any other."""
    name = _told(client, target, "promote")
    click.echo(f"{name} is to vote next; `fabric voters list` shows how far it is")


@voters.command()
@_node
@with_client
def lead(client: LocalClient, target: str) -> None:
    """Hand the lead over to the voter NODE, without an election's pause. Ask the node that leads now."""
    name = _told(client, target, "lead")
    click.echo(f"{name} leads")
