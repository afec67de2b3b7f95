"""What must be said beside an answer when the node asked hears nobody: all it shows of others is memory."""

from __future__ import annotations

import click

from fabric.runtime.local_socket import LocalClient


def notice(client: LocalClient, *, timeout_s: float | None = None) -> str:
    """ "" when the node hears somebody, or has nobody to hear."""
    status = client.get("/status", timeout_s=timeout_s)
    if not status["mesh"]["isolated"]:
        return ""
    return (
        f"this node hears nobody: {status['name']} is cut off, and what it shows of others is what it "
        "knew; `fabric doctor mesh` looks why"
    )


def say(client: LocalClient) -> None:
    """On stderr: it is no part of the data."""
    said = notice(client)
    if said:
        click.echo(said, err=True)
