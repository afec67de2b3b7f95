"""`fabric ping`: round trips over the mesh, as ping(8) shows them over IP."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import Any
from urllib.parse import urlencode

import click

from fabric.cli.output import json_option, print_json
from fabric.cli.target import node_names, with_client
from fabric.runtime.local_socket import LocalClient

BYTES_MAX = 64 * 1024  # what peers echo (fabric.runtime.peer_probes)
ANSWER_S = 5.0  # for the agent itself, beyond what it waits for the peer
Packet = dict[str, Any]
_LOST = {
    "fabric.mesh.unreachable": "no link could be made, nothing was sent",
    "fabric.mesh.deadline": "no answer in time",
    "fabric.mesh.peer_lost": "the link broke before an answer came",
}


class Number(click.IntRange):
    """click calls it an "integer range", and so its mistakes."""

    name = "whole number"


class Seconds(click.FloatRange):
    name = "number of seconds"


@click.command()
@click.argument("name", metavar="NODE", shell_complete=node_names)
@click.option(
    "--count",
    "-c",
    type=Number(0, 1_000_000),
    metavar="NUMBER",
    default=5,
    show_default=True,
    help="How many to send; 0: until interrupted.",
)
@click.option(
    "--interval",
    "-i",
    type=Seconds(0.02, 3_600),
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="Seconds between two.",
)
@click.option(
    "--size",
    "-s",
    type=Number(0, BYTES_MAX),
    metavar="BYTES",
    default=56,
    show_default=True,
    help="Bytes in each.",
)
@click.option(
    "--timeout",
    "-W",
    type=Seconds(0.01, 10),
    metavar="SECONDS",
    default=2.0,
    show_default=True,
    help="Seconds to wait for each.",
)
@json_option
@with_client
def ping(
    client: LocalClient, name: str, count: int, interval: float, size: int, timeout: float, as_json: bool
) -> None:
    """Measure round trips to NODE over the mesh: encrypted link, agent and back.

    Exit status 0 when anything came back, else 1. With --json: one object at the end."""
    query = urlencode({"node": name, "size": size, "timeout_ms": int(timeout * 1_000)})
    packets: list[Packet] = []
    began = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):  # how an endless one is meant to end: with its summary
        for number in itertools.count(1):
            sent = time.monotonic()
            packet = client.get(f"/ping?{query}", timeout_s=timeout + ANSWER_S) | {"seq": number}
            packets.append(packet)
            if not as_json:
                _print(packet, is_first=number == 1)
            if number == count:
                break
            time.sleep(max(0.0, interval - (time.monotonic() - sent)))
    if not packets:
        raise click.Abort
    summary = _summary(packets, time.monotonic() - began)
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary)
    if not summary["received"]:
        raise click.exceptions.Exit(1)


def _print(packet: Packet, *, is_first: bool) -> None:
    if is_first:
        address = packet["address"].removeprefix("tcp://")
        state = "" if packet["state"] == "alive" else f", which this node holds for {packet['state']}"
        click.echo(f"PING {packet['node']} ({address}) {packet['size']} bytes over the mesh{state}")
    if "rtt_ms" in packet:
        trip = f"seq={packet['seq']} time={packet['rtt_ms']:.3f} ms"
        click.echo(f"{packet['size']} bytes from {packet['node']}: {trip}")
    else:
        click.echo(f"lost: seq={packet['seq']} {_LOST.get(packet['code'], packet['error'])}")


def _summary(packets: list[Packet], took_s: float) -> dict[str, Any]:
    times = [packet["rtt_ms"] for packet in packets if "rtt_ms" in packet]
    first = packets[0]
    return {
        "node": first["node"],
        "id": first["id"],
        "address": first["address"],
        "state": packets[-1]["state"],
        "size": first["size"],
        "sent": len(packets),
        "received": len(times),
        "loss_percent": round(100 * (len(packets) - len(times)) / len(packets), 1),
        "min_ms": min(times, default=None),
        "avg_ms": round(sum(times) / len(times), 3) if times else None,
        "max_ms": max(times, default=None),
        "took_ms": round(took_s * 1_000),
        "packets": [_packet(packet) for packet in packets],
    }


def _packet(packet: Packet) -> Packet:
    kept = ("seq", "rtt_ms", "clock_ahead_ms", "lag_ms", "error", "code")
    return {key: packet[key] for key in kept if key in packet}


def _print_summary(summary: dict[str, Any]) -> None:
    click.echo(f"--- {summary['node']} mesh ping statistics ---")
    click.echo(
        f"{summary['sent']} sent, {summary['received']} received, {summary['loss_percent']:g}% loss, "
        f"time {summary['took_ms']} ms"
    )
    if summary["received"]:
        click.echo(
            f"rtt min/avg/max = {summary['min_ms']:.3f}/{summary['avg_ms']:.3f}/{summary['max_ms']:.3f} ms"
        )
