"""`fabric why-not`: why a server is not on some host."""

from __future__ import annotations

from urllib.parse import quote

import click

from fabric.cli import explaining as words
from fabric.cli.output import json_option, print_json
from fabric.cli.target import node_names, with_client
from fabric.cli.why import ANSWER_TIMEOUT_S
from fabric.runtime.local_socket import LocalClient


@click.command()
@click.argument("server", metavar="SERVER")
@click.argument("host", metavar="HOST", shell_complete=node_names)
@json_option
@with_client
def why_not(client: LocalClient, server: str, host: str, as_json: bool) -> None:
    """Explain why SERVER is not on HOST: every filter that refuses it there, and what would let it pass."""
    path = f"/placement/why-not/{quote(server, safe='')}/{quote(host, safe='')}"
    found = client.get(path, timeout_s=ANSWER_TIMEOUT_S)
    if as_json:
        print_json(found)
        return
    name, chosen = found["host"], found["chosen"]
    if found["is_there"]:
        verdict = "is there" if found["fits"] else "is there, and would be refused now"
    elif found["fits"]:
        verdict = f"fits it; {chosen} is better" if chosen != name else "fits it, and is the best"
    else:
        verdict = "refuses it" + (f"; {chosen} would take it" if chosen else ", as every host does")
    lines = [f"{each['filter']}: {words.lack(each)}" for each in found["refusals"]]
    if found["fits"]:
        lines = [f"weight {found['weight']:.3f}: {words.weights(found)}"]
    for line in words.sections(
        [words.server_line(found), words.asked_line(found)],
        [f"{name} {verdict}" if not found["is_there"] else f"it {verdict}", *lines],
        words.change_lines(found),
    ):
        click.echo(line)
