"""`fabric members`: who is there, in the eyes of the node asked."""

from __future__ import annotations

import click

from fabric.cli.output import json_option, print_json, print_table
from fabric.cli.target import with_client
from fabric.runtime.local_socket import LocalClient


@click.command()
@json_option
@with_client
def members(client: LocalClient, as_json: bool) -> None:
    """List every node this node knows, with its state and how long ago it was heard."""
    rows = client.get("/members")
    if as_json:
        print_json(rows)
        return
    print_table(
        ("NAME", "STATE", "AGE", "ROLES", "ZONE", "ADDRESS", "SERVERS", "VCPUS", "MEMORY MB", "ID"),
        [
            (
                row["name"],
                row["state"],
                f"{row['age_s']:.1f}s",
                ",".join(row["roles"]) or "-",
                row["zone"],
                row["address"],
                row["capacity"]["servers"],
                f"{row['capacity']['vcpus_used']}/{row['capacity']['vcpus']}",
                f"{row['capacity']['memory_mb_used']}/{row['capacity']['memory_mb']}",
                row["id"][:8],
            )
            for row in rows
        ],
    )
