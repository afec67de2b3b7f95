"""`fabric leaders`: who holds which role."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from fabric.cli import cut_off
from fabric.cli.output import json_option, print_json, print_table
from fabric.cli.target import with_client
from fabric.runtime.local_socket import LocalClient


@click.command()
@json_option
@with_client
def leaders(client: LocalClient, as_json: bool) -> None:
    """List the holders of the fabric's roles, since when, and the fence of each grant."""
    rows = client.get("/leaders")
    cut_off.say(client)
    if not rows:
        click.echo("no node that this node believes to be there holds a role", err=True)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ROLE", "NODE", "STATE", "SINCE", "FENCE"),
        [
            (
                row["role"],
                row["node"],
                row["state"],
                datetime.fromtimestamp(row["since"], UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
                row["fence"],
            )
            for row in rows
        ],
    )
