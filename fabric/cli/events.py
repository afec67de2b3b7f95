"""`fabric events`: the fabric's story as this node saw it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from fabric.cli.output import json_option, print_json
from fabric.cli.target import node_names, with_client
from fabric.runtime.events import KINDS
from fabric.runtime.local_socket import LocalClient

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SHORT_ID = 8
Event = dict[str, Any]


class Kind(click.ParamType[str]):
    """The beginning of one or more kinds of event."""

    name = "kind"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not any(kind.startswith(text) for kind in KINDS):
            self.fail(f"no event begins with {text!r}; there are: {', '.join(KINDS)}", param, ctx)
        return text


class Moment(click.ParamType[datetime]):
    """A moment in the past: how long ago (90s, 15m, 24h, 7d), or ISO 8601; without an offset it is UTC."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value)
        match = re.fullmatch(r"(\d{1,6})([smhd])", text)
        if match is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is no time; examples: 90s, 15m, 24h, 7d, 2026-01-31T03:00:00Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    kinds: tuple[str, ...]
    nodes: frozenset[str]
    since: datetime | None

    def of(self, events: Iterable[Event]) -> Iterator[Event]:
        return filter(self._takes, events)

    def _takes(self, event: Event) -> bool:
        if self.kinds and not event["event"].startswith(self.kinds):
            return False
        if self.nodes and event["node"] not in self.nodes and event.get("id") not in self.nodes:
            return False
        return self.since is None or datetime.fromisoformat(event["time"]) >= self.since


def kinds_beginning(_context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """For tab completion."""
    return [kind for kind in KINDS if kind.startswith(incomplete)]


def warn_of_strangers(client: LocalClient, wanted: Wanted, told: Iterable[Event] = ()) -> None:
    """A name that is mistyped would look like a node about which there is nothing to tell."""
    members = client.get("/members") if wanted.nodes else []
    known = {text for row in members for text in (row["name"], row["id"])}
    known |= {text for event in told for text in (event["node"], event.get("id"))}
    for name in sorted(wanted.nodes - known):
        click.echo(f"no node named {name} is known; `fabric members` lists those that are", err=True)


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Keep printing what happens, until interrupted.")
@click.option(
    "--event",
    "kinds",
    type=Kind(),
    multiple=True,
    metavar="PREFIX",
    shell_complete=kinds_beginning,
    help="Only events that begin so: member, member.host_down, server, link, role.",
)
@click.option(
    "--node-name",
    "nodes",
    multiple=True,
    metavar="NAME",
    shell_complete=node_names,
    help="Only events about this node.",
)
@click.option(
    "--since", type=Moment(), help="Only what happened since: 90s, 15m, 24h, 7d ago, or an ISO time."
)
@json_option
@with_client
def events(
    client: LocalClient,
    follow: bool,
    kinds: tuple[str, ...],
    nodes: tuple[str, ...],
    since: datetime | None,
    as_json: bool,
) -> None:
    """Show members coming and going, roles granted, servers moving.

    The agent keeps the last 2,000 events, since its own start. With --json --follow: one JSON object a
    line."""
    wanted = Wanted(kinds, frozenset(nodes), since)
    if not follow:
        kept = client.get("/events")
        found = list(wanted.of(kept))
        warn_of_strangers(client, wanted, kept)
        if as_json:
            print_json(found)
        else:
            for event in found:
                click.echo(line_of(event))
        return
    warn_of_strangers(client, wanted)
    try:
        for event in wanted.of(client.lines("/events?follow=1")):
            click.echo(json.dumps(event) if as_json else line_of(event))
    except KeyboardInterrupt:
        return


def line_of(event: Event) -> str:
    """Time, event, node, the reason in words, then what else is known."""
    fields = {key: event[key] for key in event if key not in ("time", "event", "node", "reason")}
    if "id" in fields:
        fields["id"] = fields["id"][:_SHORT_ID]
    reason = [str(event["reason"])] if event.get("reason") else []
    rest = "  ".join([*reason, *([" ".join(f"{key}={fields[key]}" for key in fields)] if fields else [])])
    return f"{event['time']}  {event['event']:<20} {event['node']:<12} {rest}".rstrip()
