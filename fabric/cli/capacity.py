"""`fabric capacity`: what each host offers and has left."""

from __future__ import annotations

import click

from fabric.cli import cut_off
from fabric.cli.output import json_option, print_json, print_table
from fabric.cli.target import with_client
from fabric.runtime.local_socket import LocalClient


@click.command()
@json_option
@with_client
def capacity(client: LocalClient, as_json: bool) -> None:
    """Show used and total of every host, as the hosts themselves say."""
    rows = client.get("/capacity")
    cut_off.say(client)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("HOST", "STATE", "ZONE", "SERVERS", "VCPUS", "MEMORY MB", "DISK GB", "HYPERVISOR"),
        [
            (
                row["host"],
                f"{row['state']} (draining)" if row["draining"] else row["state"],
                row["zone"],
                row["servers"],
                *(f"{row[key]['used']}/{row[key]['total']}" for key in ("vcpus", "memory_mb", "disk_gb")),
                row["hypervisor"],
            )
            for row in rows
        ],
    )
