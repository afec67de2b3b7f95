"""`fabric events`: the fabric's story as this node saw it."""

from __future__ import annotations

import json
from typing import Any

import click

from fabric.cli.output import json_option, print_json
from fabric.cli.target import with_client
from fabric.runtime.local_socket import LocalClient


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Keep printing what happens, until interrupted.")
@json_option
@with_client
def events(client: LocalClient, follow: bool, as_json: bool) -> None:
    """Show members coming and going, roles granted, servers moving.

    With --json --follow: one JSON object a line."""
    if not follow:
        found = client.get("/events")
        if as_json:
            print_json(found)
        else:
            for event in found:
                _print(event)
        return
    try:
        for event in client.lines("/events?follow=1"):
            if as_json:
                click.echo(json.dumps(event))
            else:
                _print(event)
    except KeyboardInterrupt:
        return


def _print(event: dict[str, Any]) -> None:
    rest = " ".join(f"{key}={event[key]}" for key in event if key not in ("time", "event", "node"))
    click.echo(f"{event['time']}  {event['event']:<20} {event['node']:<12} {rest}".rstrip())
