"""`fabric init`: the first node of a new fabric."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from fabric import __version__
from fabric import config as configuration
from fabric.cli.config import config_option
from fabric.errors import ConfigError

if TYPE_CHECKING:
    from fabric.runtime.founding import NodeFacts

PASSWORD_BYTES_MAX = 4_096


@click.command()
@config_option
@click.option(
    "--admin-password-file",
    type=click.File("r"),
    help="Read the admin's password from this file (- for standard input). Default: a random one.",
)
def init(path: Path, admin_password_file: TextIO | None) -> None:
    """Found a new fabric with this machine as its first node. Writes a commented configuration when there is
    none, the fabric's keys, and credentials for the admin."""
    from fabric.control.passwords import (
        hash_password,
    )  # late, as below: `fabric init --help` needs none of it
    from fabric.dev.credentials import write_credentials
    from fabric.runtime.clock import SystemClock
    from fabric.runtime.founding import found, prepare_directory, refuse_second

    config = load_or_write(path)
    password = secrets.token_urlsafe(18)
    if admin_password_file is not None:
        password = admin_password_file.read(PASSWORD_BYTES_MAX).strip()
        if not password:
            raise click.UsageError("--admin-password-file is empty")
    facts, url = node_facts(config), _api_url(config)
    prepare_directory(config.state_dir)
    refuse_second(config.state_dir)  # before the credentials of what it is in already are written over
    # Before the fabric exists: were it the other way round, a crash between the two would lose the password.
    write_credentials(config.state_dir, url=url, password=password, region=config.api.region)
    found(
        config.state_dir,
        facts,
        admin_password_hash=hash_password(password),
        clock=SystemClock(),
        random_bytes=secrets.token_bytes,
    )
    click.echo(f"founded a fabric; this node is {config.node_name}", err=True)
    click.echo(f"admin's credentials: {config.state_dir}/openrc and clouds.yaml", err=True)
    click.echo(
        f"next: start `fabric agent --config {path}` here, then `fabric token create` for the others",
        err=True,
    )


def load_or_write(path: Path) -> configuration.Config:
    """The configuration at `path`; a commented one with all defaults is written when there is none."""
    if not path.exists():
        from fabric.store.files import write_private

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, configuration.render(configuration.Config()).encode())
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror}); --config FILE names another place"
            ) from error
        click.echo(f"wrote {path}", err=True)
    return configuration.load(path).config


def node_facts(config: configuration.Config) -> NodeFacts:
    from fabric.runtime.addresses import default_address, endpoint_of
    from fabric.runtime.founding import NodeFacts

    address = config.mesh.address or default_address()
    if config.mesh.port == 0:
        raise ConfigError("mesh.port: 0 is for tests; peers must find this node at the same port again")
    return NodeFacts(
        name=config.node_name,
        endpoint=endpoint_of(address, config.mesh.port),
        zone=config.node.zone,
        rack=config.node.rack,
        software=__version__,
    )


def _api_url(config: configuration.Config) -> str:
    from fabric.runtime.addresses import default_address, url_of

    if config.api.public_url:
        return config.api.public_url
    return url_of(config.mesh.address or default_address(), config.api.port)
