"""`fabric explain`: where a server would go that nobody has asked for yet."""

from __future__ import annotations

from typing import Any

import click

from fabric.cli import explaining as words
from fabric.cli.output import json_option, print_json
from fabric.cli.target import node_names, with_client
from fabric.runtime.local_socket import LocalClient

COUNT_MAX = 1_000  # `control.explanations` has the same bound


def _hints(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
    """A name given several times is a list."""
    found: dict[str, list[str]] = {}
    for text in value:
        name, sign, said = text.partition("=")
        if not name or not sign:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", context, parameter)
        found.setdefault(name, []).append(said)
    return {name: said[0] if len(said) == 1 else said for name, said in found.items()}


@click.command()
@click.option("--flavor", required=True, metavar="FLAVOR", help="Of which flavor: an id or a name.")
@click.option("--image", metavar="IMAGE", help="From which image: an id or a name.")
@click.option("--zone", metavar="ZONE", help="In which availability zone.")
@click.option("--host", metavar="HOST", shell_complete=node_names, help="On which host.")
@click.option(
    "--hint",
    "hints",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_hints,
    help="A scheduler hint; repeatable.",
)
@click.option("--group", metavar="ID", help="In which server group.")
@click.option("--project", metavar="ID", help="Of which project.")
@click.option("--count", type=click.IntRange(1, COUNT_MAX), default=1, help="How many of them.")
@json_option
@with_client
def explain(
    client: LocalClient,
    flavor: str,
    image: str | None,
    zone: str | None,
    host: str | None,
    hints: dict[str, Any],
    group: str | None,
    project: str | None,
    count: int,
    as_json: bool,
) -> None:
    """Explain where servers would go that are not asked for yet. Nothing is made."""
    given = {
        "flavor": flavor,
        "image": image,
        "availability_zone": zone,
        "host": host,
        "scheduler_hints": hints,
        "group": group,
        "project_id": project,
        "count": count,
    }
    found = client.post(
        "/placement/explain", {key: value for key, value in given.items() if value is not None}
    )
    if as_json:
        print_json(found)
        return
    fit = found["count"]
    first = [words.asked_line(found), *words.unread_lines(found)]
    if count == 1:
        first.append("it fits nowhere" if found["chosen"] is None else f"it would go to {found['chosen']}")
    else:
        first.append(f"{fit['fit']} of {fit['asked']} fit together: {_where(fit['hosts'])}")
    for line in words.sections(
        first, words.best_lines(found), words.refused_lines(found), words.change_lines(found)
    ):
        click.echo(line)


def _where(hosts: dict[str, int]) -> str:
    return ", ".join(f"{number} on {name}" for name, number in hosts.items()) or "nowhere"
