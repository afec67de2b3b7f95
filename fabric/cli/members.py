"""`fabric members`: who is there, in the eyes of the node asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from fabric.cli.look import Choose, Look
from fabric.cli.output import age, json_option, millis, table_lines
from fabric.cli.screen import coloured
from fabric.cli.target import node_names, with_client
from fabric.runtime.local_socket import LocalClient

STATES = ("alive", "stalled", "suspect", "agent_down", "host_down", "leaving", "left", "forgotten")
_WORST_FIRST = ("host_down", "agent_down", "stalled", "suspect", "leaving", "left", "forgotten", "alive")
Row = dict[str, Any]
_SORTS: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: row["name"],
    "state": lambda row: (_WORST_FIRST.index(row["state"]), row["name"]),
    "age": lambda row: -row["age_s"],
    "rtt": lambda row: -(row["rtt_ms"] or 0),
    "zone": lambda row: (row["zone"], row["rack"], row["name"]),
    "servers": lambda row: -row["capacity"]["servers"],
}
MEMBER_HEAD = (
    "NAME", "STATE", "AGE", "HEARD", "RTT", "INCARNATION", "ROLES", "ZONE", "ADDRESS", "VERSION",
    "SERVERS", "VCPUS", "MEMORY MB", "ID",
)  # fmt: skip
LINK_HEAD = ("NAME", "STATE", "LINK", "HEARD", "RTT", "LAG", "TREE", "RING", "SINCE", "ADDRESS", "ID")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows, in which order."""

    names: tuple[str, ...]
    states: frozenset[str]
    zones: frozenset[str]
    sort: str

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """Raises click.ClickException for a name nobody has."""
        for name in self.names:
            if not any(_is_named(row, name) for row in rows):
                raise click.ClickException(
                    f"this node knows no node {name!r}; `fabric members` lists those it knows"
                )
        return sorted(filter(self._takes, rows), key=_SORTS[self.sort])

    def doubts(self, rows: Sequence[Row]) -> list[str]:
        """What to warn of: a zone that is mistyped would look like an empty one."""
        known = sorted({row["zone"] for row in rows})
        return [
            f"no node in a zone named {zone} is known; the zones are: {', '.join(known)}"
            for zone in sorted(self.zones - set(known))
        ]

    def _takes(self, row: Row) -> bool:
        """The forgotten are members, too, and of no interest unless they are meant."""
        is_named = any(_is_named(row, name) for name in self.names)
        if (self.names and not is_named) or (self.zones and row["zone"] not in self.zones):
            return False
        if self.states:
            return row["state"] in self.states
        return is_named or row["state"] != "forgotten"


def _is_named(row: Row, name: str) -> bool:
    return row["name"] == name or (len(name) >= 4 and row["id"].startswith(name))


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=node_names)
@click.option("--links", is_flag=True, help="Show this node's links: whom it hears first-hand, and how well.")
@click.option("--watch", "-w", is_flag=True, help="Show again and again, until interrupted.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3_600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks of --watch.",
)
@click.option(
    "--state", "states", type=click.Choice(STATES), multiple=True, help="Only members in this state."
)
@click.option("--zone", "zones", multiple=True, metavar="ZONE", help="Only members in this zone.")
@click.option(
    "--sort",
    type=click.Choice(sorted(_SORTS)),
    default="name",
    show_default=True,
    help="state: the worst first; age, rtt, servers: the greatest first.",
)
@json_option
@with_client
def members(
    client: LocalClient,
    names: tuple[str, ...],
    links: bool,
    watch: bool,
    interval: float,
    states: tuple[str, ...],
    zones: tuple[str, ...],
    sort: str,
    as_json: bool,
) -> None:
    """List every node this node knows, with its state and how long ago it was heard.

    AGE is the time since this node had evidence of that node's life. HEARD says how: over a link of its own
    (link), over one that is down now (lost), or told by others (gossip). INCARNATION is starts of the
    agent, and accusations it refuted since. NAME shows these nodes only; the first 4 or more digits of an
    id will do. With --links, SINCE is how long the link has been up or down.

    With --watch --json: one JSON object a line."""
    wanted = Wanted(names, frozenset(states), frozenset(zones), sort)
    if links:
        if sort != "name" or states or zones:
            raise click.UsageError("--links shows links: --state, --zone and --sort are for members")
        look = Look(client, "/links", _link_lines, _choose_links(wanted), as_json)
    else:
        look = Look(client, "/members", _member_lines, _choose_members(wanted), as_json)
    look.run(watch=watch, interval_s=interval)


def _choose_members(wanted: Wanted) -> Choose:
    def choose(rows: list[Row], is_first: bool) -> list[Row]:
        if is_first:
            for doubt in wanted.doubts(rows):
                click.echo(doubt, err=True)
        return wanted.of(rows)

    return choose


def _choose_links(wanted: Wanted) -> Choose:
    return lambda rows, _: [row for row in rows if not wanted.names or row["name"] in wanted.names]


def _member_lines(rows: Sequence[Row]) -> list[str]:
    lines = table_lines(MEMBER_HEAD, [_member_cells(row) for row in rows], {1: coloured})
    return lines + [f"{row['name']}: {row['note']}" for row in rows if row.get("note")]


def _member_cells(row: Row) -> tuple[object, ...]:
    capacity = row["capacity"]
    return (
        row["name"],
        f"{row['state']} (draining)" if capacity["draining"] else row["state"],
        age(row["age_s"]) if row["epoch"] else "-",
        row["heard"],
        millis(row["rtt_ms"]),
        f"{row['epoch']}.{row['incarnation']}" if row["epoch"] else "-",
        ",".join(row["roles"]) or "-",
        f"{row['zone']}/{row['rack']}" if row["rack"] else row["zone"],
        row["address"].removeprefix("tcp://"),
        row["version"],
        capacity["servers"],
        f"{capacity['vcpus_used']}/{capacity['vcpus']}",
        f"{capacity['memory_mb_used']}/{capacity['memory_mb']}",
        row["id"][:8],
    )


def _link_lines(rows: Sequence[Row]) -> list[str]:
    return table_lines(LINK_HEAD, [_link_cells(row) for row in rows], {1: coloured})


def _link_cells(row: Row) -> tuple[object, ...]:
    return (
        row["name"],
        row["state"] or "unknown",
        "bad" if row["bad"] else "up" if row["up"] else "down",
        age(row["heard_s"]),
        millis(row["rtt_ms"] if row["up"] else None),
        f"{row['lag_ms']}ms",
        "eager" if row["eager"] else "lazy",
        "yes" if row["ring"] else "no",
        age(row["changed_s"]),
        (row["address"] or "-").removeprefix("tcp://"),
        row["id"][:8],
    )
