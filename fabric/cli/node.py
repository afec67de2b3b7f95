"""`fabric node`: one node at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from fabric.cli import cut_off
from fabric.cli.lazy_group import SuggestingGroup
from fabric.cli.output import age, json_option, millis, print_json
from fabric.cli.target import NodeName, node_names, with_client
from fabric.runtime.local_socket import LocalClient

DAY_S = 86_400
_HEARD = {"lost": "a link that is down now"}


_target = click.argument("target", metavar="NAME", type=NodeName(), shell_complete=node_names)


@click.group(cls=SuggestingGroup)
def node() -> None:
    """Look at a node, drain it, remove it, or change its keys. NAME is a name, an id, or the beginning of
    an id."""


@node.command()
@_target
@json_option
@with_client
def show(client: LocalClient, target: str, as_json: bool) -> None:
    """Show all that the asked node knows of one node: what it says, and how it is believed to be."""
    found = client.get(f"/members/{_quoted(target)}")
    cut_off.say(client)
    if as_json:
        print_json(found)
        return
    lines = _lines(found)
    width = max(len(label) for label, _ in lines)
    for label, value in lines:
        click.echo(f"{label.ljust(width)}  {value}")


@node.command()
@_target
@click.option("--reason", default="", help="Why, for others to read.")
@json_option
@with_client
def drain(client: LocalClient, target: str, reason: str, as_json: bool) -> None:
    """Give a node no new servers. Those it has stay. Ask the conductor, or the node itself."""
    done = client.post(f"/nodes/{_quoted(target)}/drain", {"reason": reason})
    name = done["name"]
    _told(
        done, as_json, f"{name} takes no new servers; `fabric node undrain {name}` ends that{_unseen(done)}"
    )


@node.command()
@_target
@json_option
@with_client
def undrain(client: LocalClient, target: str, as_json: bool) -> None:
    """Let a node take new servers again. Ask the conductor."""
    done = client.post(f"/nodes/{_quoted(target)}/undrain", {})
    if not done["was_draining"]:
        _told(done, as_json, f"{done['name']} was not draining; nothing was changed")
        return
    _told(done, as_json, f"{done['name']} takes new servers again{_unseen(done)}")


@node.command()
@_target
@click.option("--force", is_flag=True, help="Even though its agent runs: it is cut off at once.")
@json_option
@with_client
def remove(client: LocalClient, target: str, force: bool, as_json: bool) -> None:
    """Remove a node from the fabric for ever. Ask the conductor.

    Its keys are refused everywhere from now on, and its agent stops. Not while servers are on it. The
    machine may come back as a new node: remove its state directory and join again."""
    done = client.post(f"/nodes/{_quoted(target)}/remove", {"force": force})
    _told(done, as_json, f"{done['name']} ({done['id']}) is no member any more; no node takes its keys")


@node.command("rotate-key")
@json_option
@with_client
def rotate_key(client: LocalClient, as_json: bool) -> None:
    """Give the asked node new keys under the id it has. Its old keys are refused from then on.

    Its agent begins anew for it; guests do not notice. On the conductor, make join tokens anew afterwards."""
    done = client.post("/rotate-key", {})
    dead = done.get("tokens_dead", 0)
    tokens = f"; join tokens that name its old key and are of no use now: {dead}" if dead else ""
    _told(done, as_json, f"{done['name']} ({done['id']}) has new keys{tokens}")


def _unseen(done: dict[str, Any]) -> str:
    """What is decided is true at once; what the node says of itself follows when it has heard of it."""
    return "" if done["seen"] else "; it has not said so itself yet"


def _told(done: dict[str, Any], as_json: bool, text: str) -> None:
    if as_json:
        print_json(done)
    else:
        click.echo(text, err=True)


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    capacity, certificate, link = found["capacity"], found["certificate"], found["link"]
    roles = ", ".join(f"{claim['role']} (fence {claim['fence']})" for claim in found["roles"])
    lines = [
        ("name", found["name"]),
        ("id", found["id"]),
        ("state", f"{found['state']} for {age(found['state_age_s'])}"),
        ("heard", f"{age(found['age_s'])} ago, by {_HEARD.get(found['heard'], found['heard'])}"),
        ("round trip", millis(found["rtt_ms"])),
        ("address", found["address"]),
        ("zone, rack", f"{found['zone']}, {found['rack'] or '-'}"),
        ("roles", roles or "-"),
        ("API", ", ".join(found["api_urls"]) or "-"),
        ("software", found["version"]),
        (
            "epoch",
            f"{found['epoch']}, incarnation {found['incarnation']}, version {found['record_version']}",
        ),
        ("servers", f"{capacity['servers']}{_draining(found)}"),
        ("vCPUs", f"{capacity['vcpus_used']} of {capacity['vcpus']}, load {capacity['load']:.2f}"),
        ("memory", f"{capacity['memory_mb_used']} of {capacity['memory_mb']} MB"),
        ("disk", f"{capacity['disk_gb_used']} of {capacity['disk_gb']} GB"),
        *_said(found),
        ("labels", ", ".join(f"{key}={value}" for key, value in sorted(found["labels"].items())) or "-"),
    ]
    if link is not None:
        kinds = [word for word, is_so in (("ring", link["ring"]), ("tree", link["eager"])) if is_so]
        health = f"{'bad, ' if link['bad'] else ''}{'up' if link['up'] else 'down'}"
        lines.append(("link", f"{health} for {age(link['changed_s'])} ({', '.join(kinds) or 'plain'})"))
    if certificate is not None:
        left_s = certificate["expires_in_s"]
        until = datetime.fromtimestamp(certificate["not_after"], UTC).isoformat(timespec="seconds")
        left = f"{left_s // DAY_S} days left" if left_s > 0 else "EXPIRED"
        lines.append(("certificate", f"{certificate['serial']}, generation {certificate['generation']}"))
        lines.append(("valid until", f"{until.replace('+00:00', 'Z')} ({left})"))
        lines.append(("may claim", ", ".join(certificate["roles"])))
    return lines


def _said(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What a host says of itself for the scheduler, where it does. An older agent knows nothing of it."""
    lines = []
    if metrics := found.get("metrics"):
        percents = {name: metrics[f"cpu.{name}.percent"] for name in ("user", "kernel", "iowait")}
        parts = ", ".join(f"{name} {value}" for name, value in percents.items())
        rate = f", {metrics['cpu.frequency']} MHz" if "cpu.frequency" in metrics else ""
        lines.append(("processors", f"{metrics['cpu.percent']} % ({parts}){rate}"))
    if cached := found.get("images_cached"):
        lines.append(("images", f"{cached} in its cache"))
    if failed := found.get("failed_builds"):
        lines.append(("failed builds", f"{failed} in a row: it comes last while others fit"))
    return lines


def _draining(found: dict[str, Any]) -> str:
    if not found["capacity"]["draining"]:
        return ""
    return f", draining: {found['drain_reason']}" if found["drain_reason"] else ", draining"


def _quoted(target: str) -> str:
    return quote(target, safe="")
