"""`fabric capacity`: what each host offers and has left; of hosts, zones or aggregates, what is claimed."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from fabric.cli import cut_off
from fabric.cli.output import json_option, print_json, print_table
from fabric.cli.target import with_client
from fabric.runtime.local_socket import AgentRefusedError, LocalClient

ANSWER_TIMEOUT_S = 30.0  # ten thousand hosts are a second's work
_CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")

Row = dict[str, Any]


@click.command()
@click.option(
    "--by", type=click.Choice(["host", "zone", "aggregate"]), help="Count claims of each of these instead."
)
@click.option("--flavor", metavar="FLAVOR", help="Count how many more of this flavor fit, and where.")
@json_option
@with_client
def capacity(client: LocalClient, by: str | None, flavor: str | None, as_json: bool) -> None:
    """Show used and total of every host, as the hosts themselves say, and what servers' rows claim of it.

    A node without rows shows only the former. What is claimed counts for the scheduler; what may be claimed
    is the total without what is reserved, times the allocation ratio.
    """
    if by is None and flavor is None:
        _as_told(client, as_json)
        return
    query = {"by": by or "host"} | ({} if flavor is None else {"flavor": flavor})
    found = client.get(f"/placement/capacity?{urlencode(query)}", timeout_s=ANSWER_TIMEOUT_S)
    cut_off.say(client)
    if as_json:
        print_json(found)
        return
    _print_rooms(found)


def _as_told(client: LocalClient, as_json: bool) -> None:
    rows = client.get("/capacity")
    claims = _claims(client)
    cut_off.say(client)
    for row in rows:
        row["claims"] = claims.get(row["host"])
    if as_json:
        print_json(rows)
        return
    head = ["HOST", "STATE", "ZONE", "SERVERS", "VCPUS", "MEMORY MB", "DISK GB", "HYPERVISOR"]
    if claims:
        head += ["FREE VCPUS", "FREE MB", "FREE GB", "RESERVED MB", "RATIOS", "OTHERS"]
    print_table(
        head,
        [
            (
                row["host"],
                f"{row['state']} (draining)" if row["draining"] else row["state"],
                row["zone"],
                row["servers"],
                *(f"{row[key]['used']}/{row[key]['total']}" for key in ("vcpus", "memory_mb", "disk_gb")),
                row["hypervisor"],
                *(_claimed(row["claims"]) if claims else ()),
            )
            for row in rows
        ],
    )


def _claims(client: LocalClient) -> dict[str, Row]:
    """Of each host, by resource class; of none where this node has no rows, and then it is said."""
    try:
        found = client.get("/placement/capacity?by=host", timeout_s=ANSWER_TIMEOUT_S)
    except AgentRefusedError as error:
        click.echo(f"what is claimed is not shown: {error}", err=True)
        return {}
    return {room["host"]: room["resources"] for room in found["rooms"]}


def _claimed(resources: Row | None) -> tuple[object, ...]:
    """Of a host that has not registered yet: nothing is known."""
    if resources is None:
        return ("-",) * 6
    free = (resources[name]["free"] for name in _CLASSES)
    return (*free, resources["MEMORY_MB"]["reserved"], _ratios(resources), _others(resources))


def _ratios(resources: Row) -> str:
    return "/".join(f"{resources[name]['ratio']:g}" for name in _CLASSES)


def _print_rooms(found: Row) -> None:
    by, is_counted = found["by"], found["flavor"] is not None
    head = [
        by.upper(),
        "TAKING",
        "SERVERS",
        "VCPUS",
        "MEMORY MB",
        "DISK GB",
        "RESERVED MB",
        "RATIOS",
        "OTHERS",
    ]
    rows = [
        [room[by] or "(none)", *_cells(room), *([room["fits"]] if is_counted else [])]
        for room in found["rooms"]
    ]
    total = found["total"]
    if len(rows) > 1:
        rows.append(["total", *_cells(total), *([total["fits"]] if is_counted else [])])
    print_table([*head, f"{found['flavor']} FIT"] if is_counted else head, rows)


def _cells(room: Row) -> list[object]:
    """Claims as used/claimable."""
    resources = room["resources"]
    if not resources:  # no host
        return [f"0/{room['hosts']}", room["servers"], *("-" * 6)]
    return [
        f"{room['taking']}/{room['hosts']}",
        room["servers"],
        *(_of(resources[name]) for name in _CLASSES),
        resources["MEMORY_MB"]["reserved"],
        _ratios(resources),
        _others(resources),
    ]


def _others(resources: Row) -> str:
    """Dedicated processors (PCPU) and whatever else its operator offers."""
    return ", ".join(f"{name} {_of(each)}" for name, each in resources.items() if name not in _CLASSES) or "-"


def _of(usage: Row) -> str:
    return f"{usage['used']}/{usage['capacity']}"
