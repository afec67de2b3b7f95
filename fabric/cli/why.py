"""`fabric why`: why a server is where it is, or why it is nowhere."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from fabric.cli import explaining as words
from fabric.cli.output import json_option, print_json
from fabric.cli.target import with_client
from fabric.runtime.local_socket import LocalClient

ANSWER_TIMEOUT_S = 30.0  # ten thousand hosts are a second's work


@click.command()
@click.argument("server", metavar="SERVER")
@json_option
@with_client
def why(client: LocalClient, server: str, as_json: bool) -> None:
    """Explain where SERVER (an id, or a name of its own) is, by what is known now.

    It is looked at as if it had no host: which hosts fit, what each weigher gave them, which filter refuses
    how many of the others, and what would let it fit if nothing does.
    """
    found = client.get(f"/placement/why/{quote(server, safe='')}", timeout_s=ANSWER_TIMEOUT_S)
    if as_json:
        print_json(found)
        return
    for line in words.sections(
        [
            words.server_line(found),
            words.asked_line(found),
            *words.unread_lines(found),
            *words.fault_lines(found),
            *words.move_lines(found),
            *words.failure_lines(found),
            *_now(found),
        ],
        words.best_lines(found, also=found["server"]["host"]),
        words.refused_lines(found),
        words.change_lines(found),
    ):
        click.echo(line)


def _now(found: dict[str, Any]) -> list[str]:
    """What the scheduler would do with it."""
    host, chosen = found["server"]["host"], found["chosen"]
    if chosen is None:
        return ["placed now, it would fit nowhere" if host else "it fits nowhere"]
    if host is None:
        return [f"placed now, it would go to {chosen}"]
    return [f"placed now, it would go to {chosen}{' instead' if found['would_move'] else ' again'}"]
