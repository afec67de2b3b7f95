"""`fabric metrics`: what Prometheus would scrape from this node's agent."""

from __future__ import annotations

import click

from fabric.cli.target import with_client
from fabric.runtime.local_socket import LocalClient


@click.command()
@with_client
def metrics(client: LocalClient) -> None:
    """Print the agent's metrics, in Prometheus' text format.

    Over TCP for Prometheus itself: [metrics] listen in the configuration."""
    click.echo(client.text("/metrics"), nl=False)
