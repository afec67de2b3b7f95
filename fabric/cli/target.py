"""Which agent a command speaks to: `--dir` and `--node`, or this machine's own."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import click

from fabric import config as configuration
from fabric.config import Config
from fabric.dev.layout import FILE_NAME, DevLayout, LayoutError
from fabric.runtime.local_socket import AgentNotRunningError, AgentSilentError, LocalClient

DEV_DIR = Path(".fabric/dev")
P = ParamSpec("P")
R = TypeVar("R")

NODE_CHARS_MAX = 64


def state_dir_of(directory: str | None, node: str | None) -> Path:
    """The state directory of the agent meant. Raises click.ClickException with the next step."""
    state_dir, path = _place_of(directory, node)
    return configuration.load(path).config.state_dir if state_dir is None else state_dir


def _place_of(directory: str | None, node: str | None) -> tuple[Path | None, Path]:
    """The state directory, None where only the configuration knows it, and the configuration's file."""
    chosen = Path(directory) if directory else None
    if chosen is None and (DEV_DIR / FILE_NAME).exists():
        chosen = DEV_DIR
    if chosen is not None:
        return _in_dev_fabric(chosen, node)
    if node is not None:
        raise click.UsageError("--node needs --dir (or FABRIC_DIR): on a real machine there is one agent")
    path = Path(os.environ.get("FABRIC_CONFIG", configuration.DEFAULT_PATH))
    if not path.exists():
        raise click.ClickException(
            f"no fabric here: neither {DEV_DIR}/fabric.json nor {path} exists\n"
            "hint: `fabric dev up` starts one to try; --dir DIR names another"
        )
    return None, path


def _in_dev_fabric(directory: Path, node: str | None) -> tuple[Path, Path]:
    layout = DevLayout.read(directory)
    if layout is None:
        raise click.ClickException(
            f"no fabric in {directory} (no fabric.json)\nhint: `fabric dev up --dir {directory}` starts one"
        )
    if node is None:
        running = [entry for entry in layout.nodes if entry.is_running()]
        chosen = (running or list(layout.nodes))[0]
        return chosen.dir, chosen.config
    for entry in layout.nodes:
        if entry.name == node:
            return entry.dir, entry.config
    names = ", ".join(entry.name for entry in layout.nodes)
    raise click.ClickException(f"no node {node!r} in {directory}; there are: {names}")


def _node_options(node_help: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Adds --dir and --node."""

    def add(function: Callable[P, R]) -> Callable[P, R]:
        node = click.option("--node", metavar="NAME", shell_complete=node_names, help=node_help)
        directory = click.option(
            "--dir",
            "directory",
            envvar="FABRIC_DIR",
            metavar="DIR",
            help="Directory of a development fabric (default: .fabric/dev if it exists).",
        )
        return directory(node(function))

    return add


def with_client(function: Callable[Concatenate[LocalClient, P], R]) -> Callable[P, R]:
    """Adds --dir and --node, and gives the command a client of the agent they name."""

    @_node_options("Ask this node's agent.")
    @functools.wraps(function)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        directory, node = options.pop("directory"), options.pop("node")
        state_dir = state_dir_of(_text(directory), _text(node))
        try:
            return function(LocalClient(state_dir), *args, **options)
        except AgentSilentError as error:
            hint = _way_out(error.pid, _text(directory), state_dir)
            raise click.ClickException(f"{error}\nhint: {hint}") from error
        except AgentNotRunningError as error:
            hint = _next_step(_text(directory))
            raise click.ClickException(f"{error}\nhint: {hint}") from error

    return wrapped


def with_state_dir(function: Callable[Concatenate[Path, P], R]) -> Callable[P, R]:
    """Adds --dir and --node, and gives the command the state directory of the node they name."""

    @_node_options("The node meant.")
    @functools.wraps(function)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        directory, node = options.pop("directory"), options.pop("node")
        return function(state_dir_of(_text(directory), _text(node)), *args, **options)

    return wrapped


def with_config(function: Callable[Concatenate[Config, P], R]) -> Callable[P, R]:
    """Adds --dir and --node, and gives the command the configuration of the node they name."""

    @_node_options("The node meant.")
    @functools.wraps(function)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        directory, node = options.pop("directory"), options.pop("node")
        path = _place_of(_text(directory), _text(node))[1]
        return function(configuration.load(path).config, *args, **options)

    return wrapped


def _next_step(directory: str | None) -> str:
    if directory is None and not (DEV_DIR / FILE_NAME).exists():
        return "`systemctl start fabric-agent` or `fabric agent --config FILE` starts it"
    option = "" if directory is None else f" --dir {directory}"
    return f"`fabric dev status{option}` shows who runs, `fabric dev start NODE{option}` starts one"


def _way_out(pid: int, directory: str | None, state_dir: Path) -> str:
    """What to do about an agent that runs and does not answer."""
    go_on = f"`kill -CONT {pid}` lets one go on that was stopped; " if pid else ""
    layout = DevLayout.read(Path(directory) if directory else DEV_DIR)
    if layout is None:
        return f"{go_on}`systemctl restart fabric-agent` starts it anew"
    option = "" if directory is None else f" --dir {directory}"
    name = next((node.name for node in layout.nodes if node.dir == state_dir), "NODE")
    return f"{go_on}or `fabric dev kill {name}{option}` and `fabric dev start {name}{option}`"


class NodeName(click.ParamType[str]):
    name = "node"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not 0 < len(text) <= NODE_CHARS_MAX:
            self.fail("give a node's name, its id, or the beginning of its id", param, ctx)
        return text


def node_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """For tab completion, which must never fail aloud."""
    directory = context.params.get("directory") or os.environ.get("FABRIC_DIR") or DEV_DIR
    try:
        layout = DevLayout.read(Path(str(directory)))
    except LayoutError:
        return []
    return [node.name for node in layout.nodes if node.name.startswith(incomplete)] if layout else []


def _text(value: object) -> str | None:
    return None if value is None else str(value)
