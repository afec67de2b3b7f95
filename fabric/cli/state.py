"""`fabric state`: all rows of a fabric, out of one engine and into another."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from fabric.cli.copying import write_copy
from fabric.cli.output import json_option, print_json, stamp, without_password
from fabric.cli.target import with_config
from fabric.config import Config
from fabric.runtime.clock import SystemClock

if TYPE_CHECKING:
    from fabric.store.new_life import NewLife
    from fabric.store.rows_file import Header, Sum
    from fabric.store.rows_import import SharedLife

EMBEDDED = "embedded"


@click.group()
def state() -> None:
    """Move a fabric between engines: the log of its own voters, and a PostgreSQL database."""


@state.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
@with_config
def export_state(config: Config, file: Path, force: bool, as_json: bool) -> None:
    """Copy all rows of this node's fabric to FILE, at one index, in a form of no engine.

    While agents run, writes go on, and what comes after that index is not in FILE: to move a fabric, stop the
    agents of all nodes that hold rows first. FILE holds secrets, as a backup does.
    """
    (header, made), is_running = write_copy(
        config.state_dir,
        file,
        force=force,
        path="/rows/export",
        body={},
        stopped=lambda out: _of_stopped(config, out),
        check=_read,
    )
    if as_json:
        fields = {"fabric": header.fabric_id, "incarnation": header.incarnation, "engine": header.engine}
        fields |= {"index": header.index, "term": header.term, "entry_ms": header.entry_ms}
        print_json(fields | {"rows": made.rows, "digest": made.digest.hex(), "running": is_running})
    click.echo(
        f"{file}: {made.rows} rows, entries up to {header.index} of {stamp(header.entry_ms)}", err=True
    )
    if is_running:
        click.echo(f"agents run: what is written after entry {header.index} is not in it", err=True)
    click.echo("it holds secrets: keep it as you keep private keys", err=True)


@state.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--to",
    "url",
    metavar="URL",
    help='An empty PostgreSQL database, or "embedded": the log of this node. Default: [state] url of its '
    "configuration.",
)
@with_config
def import_state(config: Config, file: Path, url: str | None) -> None:
    """Make the rows in FILE those of this node's fabric, in an empty database or in this node's own log.

    This node was a voter or the founder, so that it has the root's key, and its agent is stopped. It is a
    new life of the fabric: voters of before that come back become hosts, and are invited again.
    """
    from fabric.runtime.restoring import equip, own
    from fabric.store.engine import is_embedded
    from fabric.store.lock import DirectoryLock
    from fabric.store.rows_import import import_into_database, import_into_voter

    target = config.state.url if url is None else url
    to_log = target == EMBEDDED or is_embedded(target)
    directory, now_ms = config.state_dir, SystemClock().wall_ms()
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        member, identity = own(directory)

        def accept(header: Header) -> None:
            if header.fabric_id != member.fabric_id:
                raise click.ClickException(
                    f"{file} is of fabric {header.fabric_id}, this node is of {member.fabric_id}"
                )

        def prepare() -> None:
            equip(directory, member, identity, root_key=b"", now_ms=now_ms)

        life: NewLife | SharedLife
        with file.open("rb") as source:
            if to_log:
                life, read = import_into_voter(
                    source, directory, identity.node_id, now_ms=now_ms, accept=accept, equip=prepare
                )
            else:
                life, read = import_into_database(source, target, now_ms=now_ms, accept=accept, equip=prepare)
                _leave_log(directory, life.incarnation)
    finally:
        lock.release()
    click.echo(f"brought: all rows, entries up to {read.index} of {stamp(read.entry_ms)}", err=True)
    click.echo(f"the fabric goes on at entry {life.index}, incarnation {life.incarnation}", err=True)
    _say_next(config.state.url, "" if to_log else target)


def _read(written: IO[bytes]) -> tuple[Header, Sum]:
    """Raises SnapshotRefusedError: what came is not what was written."""
    from fabric.store.rows_file import RowsReader

    reader = RowsReader(written)
    for _ in reader.content():
        pass
    return reader.header, reader.sum


def _of_stopped(config: Config, out: IO[bytes]) -> None:
    from fabric.store.engine import is_embedded
    from fabric.store.life_swap import STATE
    from fabric.store.rows_export import export_database, export_stopped_voter
    from fabric.store.sqlite import DATABASE

    now_ms = SystemClock().wall_ms()
    if not is_embedded(config.state.url):
        export_database(config.state.url, out, now_ms=now_ms)
    elif (config.state_dir / STATE / DATABASE).exists():
        export_stopped_voter(config.state_dir, out, now_ms=now_ms)
    else:
        raise click.ClickException(
            f"no rows in {config.state_dir}\nhint: `fabric voters list` shows who holds them"
        )


def _leave_log(directory: Path, incarnation: int) -> None:
    """Where this node was a voter, its log is of a former life: an agent whose configuration names no
    database any more must not go on from it."""
    from fabric.store.life_swap import set_state_aside

    aside = set_state_aside(directory, incarnation)
    if aside is not None:
        click.echo(f"the log before is in {aside}", err=True)


def _say_next(configured: str, wanted: str) -> None:
    if configured == wanted or (not wanted and configured == "sqlite"):
        click.echo("next: start this node's agent, then those of the others", err=True)
    elif wanted:
        url = without_password(wanted)
        click.echo(f'next: set `url = "{url}"` under [state] in this node\'s configuration', err=True)
    else:
        click.echo("next: take `url` out of [state] in the configuration of every node that has it", err=True)
