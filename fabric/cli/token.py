"""`fabric token`: invitations for new nodes."""

from __future__ import annotations

import re
from urllib.parse import quote

import click

from fabric.cli.output import age, json_option, print_json, print_table
from fabric.cli.target import with_client
from fabric.runtime.local_socket import LocalClient
from proto.join import parse_token_text

TTL_S_MAX = 30 * 86_400  # what the agent takes (fabric.api.local)
_STATUS = {"used_up": "used up", "old_door_key": "dead: the door's keys were rotated, make a new one"}
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType[int]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d{1,9})([smhd]?)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration; examples: 90s, 15m, 24h, 7d", param, ctx)
        seconds = int(match[1]) * _UNITS[match[2]]
        if not 1 <= seconds <= TTL_S_MAX:
            self.fail(f"{value!r} is out of range: 1s to {TTL_S_MAX // 86_400}d", param, ctx)
        return seconds


@click.group()
def token() -> None:
    """Invite nodes to the fabric."""


@token.command()
@click.option("--ttl", type=Duration(), default="1h", show_default=True, help="How long it is valid.")
@click.option("--uses", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Joins it allows.")
@json_option
@with_client
def create(client: LocalClient, ttl: int, uses: int, as_json: bool) -> None:
    """Make a join token and print it. Give it to `fabric join` on the new machine; treat it as a password."""
    made = client.post("/token", {"ttl_s": ttl, "uses": uses})
    if as_json:
        token = parse_token_text(made["token"])
        print_json(made | {"id": token.token_id, "expires": token.expires_ms / 1_000, "uses": uses})
    else:
        click.echo(made["token"])


@token.command("list")
@json_option
@with_client
def list_tokens(client: LocalClient, as_json: bool) -> None:
    """List join tokens, without their secrets: nobody has those but whoever was given them."""
    rows = client.get("/tokens")
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "USES LEFT", "EXPIRES", "STATUS"),
        [
            (
                row["id"],
                row["uses_left"],
                f"in {age(left)}" if (left := row["expires_in_s"]) > 0 else "expired",
                _STATUS.get(row["status"], row["status"]),
            )
            for row in rows
        ],
    )


def _named(_: click.Context, __: click.Parameter, text: str) -> str:
    if not text.strip("./ "):  # which no path of the local socket can carry either
        raise click.UsageError("TOKEN_ID is empty; `fabric token list` shows them")
    return text


@token.command()
@click.argument("token_id", callback=_named)
@with_client
def revoke(client: LocalClient, token_id: str) -> None:
    """Make a join token worthless. TOKEN_ID is what `fabric token list` shows, or the beginning of it. Who
    joined with it stays."""
    client.post(f"/tokens/{quote(token_id, safe='')}/revoke", {})
    click.echo("nobody joins with that token any more", err=True)
