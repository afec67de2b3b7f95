"""`fabric restore`: a backup becomes the state of this node, which is the whole group then."""

from __future__ import annotations

from pathlib import Path

import click

from fabric.cli.output import stamp
from fabric.cli.target import with_state_dir
from fabric.runtime.clock import SystemClock


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Set a state aside that is there, as state.before-N.")
@with_state_dir
def restore(state_dir: Path, file: Path, force: bool) -> None:
    """Make this node, a member whose agent is stopped, the only voter of its fabric, with the rows in FILE.

    Only where all voters are lost: where one is left, `fabric recover` loses less. What was done after the
    backup is lost. Voters of before that come back become hosts, and are invited again.
    """
    from fabric.runtime.restoring import equip, own
    from fabric.store.backup import opened_backup
    from fabric.store.lock import DirectoryLock
    from fabric.store.restore import restore_backup

    lock = DirectoryLock(state_dir)
    lock.acquire()
    scratch = state_dir / "restore.tmp"
    try:
        now_ms = SystemClock().wall_ms()
        member, identity = own(state_dir)
        with opened_backup(file, scratch) as (found, root_key, _):
            if found.fabric_id != member.fabric_id:
                raise click.ClickException(
                    f"{file} is of fabric {found.fabric_id}, this node is of {member.fabric_id}"
                )
        life, made, before = restore_backup(
            file,
            state_dir,
            identity.node_id,
            now_ms=now_ms,
            force=force,
            equip=lambda: equip(state_dir, member, identity, root_key=root_key, now_ms=now_ms),
        )
    finally:
        scratch.unlink(missing_ok=True)
        lock.release()
    click.echo(f"lost: everything after entry {made.index} of {stamp(made.entry_ms)}", err=True)
    if before is not None:
        click.echo(f"the state before is in {before}", err=True)
    click.echo(f"voter {life.voter} is the whole group, incarnation {life.incarnation}", err=True)
    click.echo("next: start this node's agent, then those of the others", err=True)
