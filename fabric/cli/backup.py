"""`fabric backup`: the fabric's rows in one file."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import click

from fabric.cli.copying import write_copy
from fabric.cli.output import stamp
from fabric.cli.target import with_state_dir
from fabric.runtime.clock import SystemClock


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--with-root-key", is_flag=True, help="Put the root's key in, which makes certificates.")
@with_state_dir
def backup(state_dir: Path, file: Path, force: bool, with_root_key: bool) -> None:
    """Copy the rows of this node, which holds the log, to FILE: its agent does it, or is stopped.

    FILE holds secrets: hashes of passwords, the key of tokens, what users gave their guests. The root's key
    is not in it unless asked for: without one a restored fabric can admit nobody, but every voter's directory
    has it. Guests' disks and images are not in it.
    """
    from fabric.store.backup import read_manifest

    def of_directory(out: IO[bytes]) -> None:
        _of_directory(state_dir, out, file, with_root_key=with_root_key)

    made, _ = write_copy(
        state_dir,
        file,
        force=force,
        path="/rows/backup",
        body={"with_root_key": with_root_key},
        stopped=of_directory,
        check=read_manifest,
    )
    click.echo(f"{file}: entries up to {made.index} of {stamp(made.entry_ms)}", err=True)
    click.echo("it holds secrets: keep it as you keep private keys", err=True)


def _of_directory(state_dir: Path, out: IO[bytes], file: Path, *, with_root_key: bool) -> None:
    from fabric.runtime.authority import ROOT_FILE
    from fabric.store.backup import put_backup
    from fabric.store.incarnation import read_incarnation
    from fabric.store.life_swap import STATE
    from fabric.store.sqlite import DATABASE

    state = state_dir / STATE
    if not (state / DATABASE).exists():
        raise click.ClickException(f"no log in {state_dir}\nhint: `fabric voters list` shows who holds it")
    put_backup(
        state / DATABASE,
        out,
        file.with_name(f"{file.name}.tables.tmp"),
        incarnation=read_incarnation(state),
        now_ms=SystemClock().wall_ms(),
        root_key=(state_dir / ROOT_FILE).read_bytes() if with_root_key else b"",
    )
