"""`fabric dev`: a whole fabric on this machine, to try, to develop against, to break."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fabric.cli.lazy_group import SuggestingGroup
from fabric.cli.output import json_option, print_json, print_table, without_password
from fabric.cli.target import DEV_DIR, node_names
from fabric.dev.first_content import FirstServer
from fabric.dev.layout import DevLayout
from fabric.dev.places import DevRefusedError
from fabric.dev.up import NODES_MAX, DevFabric, DevOptions
from fabric.errors import FabricError

F = TypeVar("F", bound=Callable[..., Any])
BOOT_TIMEOUT_S = 300.0


def directory_option(function: F) -> F:
    return click.option(
        "--dir",
        "directory",
        envvar="FABRIC_DIR",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEV_DIR,
        show_default=True,
        help="Where everything of this fabric lives.",
    )(function)


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.group(cls=SuggestingGroup)
def dev() -> None:
    """Run a whole fabric on this machine."""


@dev.command()
@click.option(
    "--nodes", type=click.IntRange(1, NODES_MAX), default=3, show_default=True, help="How many agents."
)
@click.option(
    "--driver",
    type=click.Choice(["sim", "libvirt"]),
    default="sim",
    show_default=True,
    help="sim: guests in memory, needs no rights. libvirt: real guests on simulated hosts, needs root.",
)
@directory_option
@click.option(
    "--api-port", type=click.IntRange(0, 65_535), default=0, help="Port of the API (default: a free one)."
)
@click.option("--state-url", default="", help="PostgreSQL URL for the control plane (default: embedded log).")
@click.option(
    "--voters",
    type=click.IntRange(0, 64),
    default=0,
    help="Only the first so many nodes may hold the log (default: all may).",
)
@click.option(
    "--in-process",
    is_flag=True,
    help="Voters live in their agents, without processes of their own: lighter.",
)
@click.option("--first-server", is_flag=True, help="Boot one server and wait until it can be reached.")
@json_option
def up(
    nodes: int,
    driver: str,
    directory: Path,
    api_port: int,
    state_url: str,
    voters: int,
    in_process: bool,
    first_server: bool,
    as_json: bool,
) -> None:
    """Start a fabric; return when its API answers, with flavors, an image and a network in it."""
    fabric = DevFabric(directory, _say)
    if fabric.is_running():
        layout = fabric.layout()
        _say(f"a fabric is running in {fabric.directory} already; nothing was changed")
        for node in layout.nodes:
            if not node.is_running():
                _say(f"  but {node.name}: `fabric dev start {node.name} --dir {fabric.directory}` starts it")
        _summary(fabric, layout, None, as_json)
        return
    _need_empty(fabric)
    if driver == "libvirt" and os.geteuid() != 0:
        raise click.ClickException("the libvirt driver needs root here\nhint: --driver sim needs no rights")
    if state_url and not state_url.startswith("postgresql+psycopg://"):
        raise click.BadParameter("must begin with postgresql+psycopg://", param_hint="--state-url")
    options = DevOptions(
        directory=directory,
        nodes=nodes,
        driver=driver,
        api_port=api_port,
        state_url=state_url,
        voters=voters,
        voters_in_process=in_process,
    )
    try:
        layout = fabric.up(options)
        fabric.fill(layout)
        server = fabric.first_server(layout, timeout_s=BOOT_TIMEOUT_S) if first_server else None
    except DevRefusedError:  # nothing was made
        raise
    except (FabricError, KeyboardInterrupt) as error:
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        raise click.ClickException(
            f"{why}\nhint: logs are in {fabric.directory}/nodes; `fabric dev down --dir {fabric.directory}` "
            "removes what was made"
        ) from error
    _summary(fabric, layout, server, as_json)


@dev.command(short_help="End the fabric and remove every trace of it.")
@directory_option
def down(directory: Path) -> None:
    """End the fabric and remove every trace of it: processes, namespaces, bridges, guests, files."""
    if DevFabric(directory, _say).down():
        _say(f"removed the fabric in {directory}")
    else:
        _say(f"no fabric in {directory}: nothing to do")


@dev.command()
@click.argument("node", shell_complete=node_names)
@click.option("--signal", "name", default="KILL", show_default=True, help="Signal by name or number.")
@directory_option
def kill(node: str, name: str, directory: Path) -> None:
    """Send a signal to one node's agent. Its guests and the rest of its host go on."""
    DevFabric(directory, _say).kill(node, _signal(name))


@dev.command()
@click.argument("node", shell_complete=node_names)
@directory_option
def start(node: str, directory: Path) -> None:
    """Start a node's agent again; returns when it is ready."""
    DevFabric(directory, _say).start(node)


@dev.command()
@directory_option
@json_option
def status(directory: Path, as_json: bool) -> None:
    """Show the nodes of the fabric and whether their agents run."""
    value = DevFabric(directory, _say).status()
    if as_json:
        print_json(_shown(value))
        return
    click.echo(f"api: {', '.join(value['api'])}   driver: {value['driver']}")
    print_table(
        ("NODE", "RUNNING", "PID", "DIR", "LOG"),
        [(node["name"], _running(node), node["pid"], node["dir"], node["log"]) for node in value["nodes"]],
    )


@dev.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("node", shell_complete=node_names)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@directory_option
def exec_(node: str, command: tuple[str, ...], directory: Path) -> None:
    """Run a command on a node's host, e.g. `fabric dev exec h1 -- ip addr`."""
    argv = DevFabric(directory, _say).command_on(node, command)
    _become(argv)


@dev.command()
@click.argument("server")
@directory_option
def ssh(server: str, directory: Path) -> None:
    """Log in to a server by name, from its host, with the fabric's key."""
    fabric = DevFabric(directory, _say)
    layout = fabric.layout()
    cloud = fabric.cloud(layout)
    found = cloud.find("/compute/v2.1/servers", "servers", server)
    if found is None:
        raise click.ClickException(f"no server named {server!r}")
    shown = cloud.get(f"/compute/v2.1/servers/{found['id']}")["server"]
    addresses = [item["addr"] for entries in shown["addresses"].values() for item in entries]
    if not addresses or not shown.get("OS-EXT-SRV-ATTR:host"):
        raise click.ClickException(f"server {server!r} is {shown['status']} and has no address yet")
    _become(fabric.command_on(shown["OS-EXT-SRV-ATTR:host"], fabric.ssh(addresses[0])))


def _need_empty(fabric: DevFabric) -> None:
    where = fabric.directory
    if fabric.is_ours():
        raise click.ClickException(
            f"{where} holds a fabric that is not running\n"
            f"hint: `fabric dev start NODE --dir {where}` starts its agents, `fabric dev down --dir {where}` "
            "removes it"
        )
    if where.exists() and any(where.iterdir()):
        raise click.ClickException(
            f"{where} is not empty and holds no fabric\nhint: name an empty or new directory with --dir"
        )


def _become(argv: list[str]) -> None:
    """Ends this program and becomes `argv`, the operator's own command."""
    try:
        os.execvp(argv[0], argv)  # noqa: S606
    except OSError as error:
        raise click.ClickException(f"{argv[0]}: {error.strerror}") from error


def _signal(name: str) -> int:
    text = name.upper().removeprefix("SIG")
    try:
        number = int(text) if text.isdecimal() and len(text) < 4 else signal.Signals[f"SIG{text}"].value
        return signal.Signals(number).value
    except (KeyError, ValueError) as error:
        raise click.BadParameter(
            f"{name!r} is no signal; examples: KILL, TERM, STOP, CONT, 9", param_hint="--signal"
        ) from error


def _running(node: dict[str, Any]) -> str:
    if not node["running"]:
        return "no"
    return "yes" if node["answers"] else "yes, but does not answer"


def _shown(status: dict[str, Any]) -> dict[str, Any]:
    return status | {"state_url": without_password(status["state_url"])}


def _summary(fabric: DevFabric, layout: DevLayout, server: FirstServer | None, as_json: bool) -> None:
    if as_json:
        extra = {} if server is None else {"server": {"id": server.server_id, "address": server.address}}
        print_json(_shown(fabric.status()) | extra)
        return
    click.echo("\nmembers")
    print_table(
        ("NAME", "STATE", "ROLES", "ADDRESS", "SERVERS"),
        [
            (
                row["name"],
                row["state"],
                ",".join(row["roles"]) or "-",
                row["address"],
                row["capacity"]["servers"],
            )
            for row in fabric.members(layout)
        ],
    )
    where = fabric.directory
    option = "" if where == DEV_DIR.absolute() else f" --dir {where}"
    fabric_command = Path(sys.argv[0]) if Path(sys.argv[0]).name == "fabric" else "fabric"
    if server is not None:
        click.echo(f"\nserver {server.name}: ACTIVE on {server.host}, address {server.address}")
        if layout.driver == "libvirt":
            click.echo(f"  log in:  {fabric_command} dev ssh {server.name}{option}")
    click.echo(f"\nAPI       {layout.api_urls[0]}")
    click.echo(f"openrc    {where}/openrc")
    click.echo(f"clouds    {where}/clouds.yaml  (export OS_CLIENT_CONFIG_FILE=... OS_CLOUD=fabric)")
    click.echo("\ntry next")
    click.echo(f"  . {where}/openrc; openstack server list")
    click.echo("  openstack server create --image guest --flavor m1.nano --network private --wait second")
    click.echo(f"  {fabric_command} members{option}; {fabric_command} leaders{option}")
    last = layout.nodes[-1].name
    click.echo(f"  {fabric_command} dev kill {last}{option}; {fabric_command} events{option}")
    click.echo(f"  {fabric_command} dev down{option}" + ("  (or: make down)" if not option else ""))
