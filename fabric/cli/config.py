"""`fabric config`: what is set, where it came from, and whether it is right."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
from click.core import ParameterSource

from fabric import config as configuration
from fabric.cli.output import json_option, print_json, print_table, without_password
from fabric.errors import ConfigError

config_option = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="FABRIC_CONFIG",
    default=configuration.DEFAULT_PATH,
    show_default=True,
    help="The configuration file.",
)
_SECRET_KEYS = frozenset({"state.url"})


@click.group()
def config() -> None:
    """Look at the agent's configuration."""


@config.command()
@config_option
@json_option
@click.pass_context
def show(context: click.Context, path: Path, as_json: bool) -> None:
    """Print each setting, its value and where the value came from."""
    is_default = context.get_parameter_source("path") is ParameterSource.DEFAULT
    loaded = configuration.load(None if is_default and not path.exists() else path)
    rows = []
    for section in dataclasses.fields(loaded.config):
        body = getattr(loaded.config, section.name)
        for item in dataclasses.fields(body):
            name = f"{section.name}.{item.name}"
            value = getattr(body, item.name)
            rows.append((name, _hidden(name, value), loaded.origins[name]))
    if as_json:
        print_json([{"setting": n, "value": v, "origin": o} for n, v, o in rows])
    else:
        print_table(("SETTING", "VALUE", "ORIGIN"), rows)


@config.command()
@config_option
def validate(path: Path) -> None:
    """Check the file: unknown settings, wrong types, impossible values. Exit 0 when it is right."""
    if not path.exists():
        raise ConfigError(f"{path}: does not exist; `fabric init --config {path}` writes one")
    from fabric.scheduler_policy import scheduler_policy  # late: the other commands need none of it

    scheduler_policy(configuration.load(path).config.scheduler)
    click.echo(f"{path}: valid")


def _hidden(name: str, value: object) -> object:
    return without_password(str(value)) if name in _SECRET_KEYS else value
