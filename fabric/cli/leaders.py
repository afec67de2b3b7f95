"""`fabric leaders`: who holds which role."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from fabric.cli.look import Look, Row
from fabric.cli.output import json_option, table_lines
from fabric.cli.screen import coloured
from fabric.cli.target import with_client
from fabric.runtime.local_socket import LocalClient

HEAD = ("ROLE", "NODE", "STATE", "SINCE", "FENCE", "LEASE", "COULD TAKE OVER")
NOBODY = "no node that this node believes to be there holds a role"


@click.command()
@click.option("--watch", "-w", is_flag=True, help="Show again and again, until interrupted.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks of --watch.",
)
@json_option
@with_client
def leaders(client: LocalClient, watch: bool, interval: float, as_json: bool) -> None:
    """List the holders of the fabric's roles, since when, the fence of each grant, how long it lasts if
    nobody renews it, as who leads knows it, and who could take over.

    With --watch --json: one JSON object a line."""
    look = Look(client, "/leaders", _lines, _doubt, as_json)
    look.run(watch=watch, interval_s=interval)


def _doubt(rows: list[Row], is_first: bool) -> list[Row]:
    if not rows and is_first:
        click.echo(NOBODY, err=True)
    return rows


def _lines(rows: Sequence[Row]) -> list[str]:
    table = table_lines(
        HEAD,
        [
            (
                row["role"],
                row["node"],
                row["state"],
                datetime.fromtimestamp(row["since"], UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
                row["fence"],
                "-" if row["lease_s"] is None else f"{row['lease_s']:.1f} s",
                ", ".join(row["candidates"]) or "-",
            )
            for row in rows
        ],
        {2: coloured},
    )
    return table + [
        f"the API's virtual address {row['virtual_address']} is on {row['node']}"
        for row in rows
        if row.get("virtual_address")
    ]
