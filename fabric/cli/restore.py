"""`fabric restore`: a backup becomes the state of this node, which is the whole group then."""

from __future__ import annotations

from pathlib import Path

import click

from fabric.cli.output import stamp
from fabric.cli.target import with_config
from fabric.config import Config
from fabric.runtime.clock import SystemClock
from proto.ids import FabricId


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Set a state aside that is there, as state.before-N.")
@with_config
def restore(config: Config, file: Path, force: bool) -> None:
    """Make this node, whose agent is stopped, the only voter of its fabric, with the rows in FILE.

    Only where all voters are lost: where one is left, `fabric recover` loses less. What was done after the
    backup is lost. Voters of before that come back become hosts, and are invited again.

    Any machine that was a member will do, if it or FILE has the root's key. A new machine will do where FILE
    has it: it is one node more, and the founder. Members that live on do not know its key and refuse it, so
    where there are any, restore on one of them.
    """
    from fabric.runtime.founding import prepare_directory
    from fabric.runtime.node_identity import load_or_create
    from fabric.runtime.restoring import become_founder, equip, known, root_of
    from fabric.store.backup import opened_backup
    from fabric.store.lock import DirectoryLock
    from fabric.store.restore import Newcomer, restore_backup

    state_dir, now_ms = config.state_dir, SystemClock().wall_ms()
    prepare_directory(state_dir)
    lock = DirectoryLock(state_dir)
    lock.acquire()
    scratch = state_dir / "restore.tmp"
    try:
        found = known(state_dir)
        with opened_backup(file, scratch) as (manifest, root_key, _):
            fabric_id = FabricId(manifest.fabric_id)
        newcomer: Newcomer | None = None
        if found is None:
            authority = root_of(root_key, fabric_id)
            newcomer = Newcomer(name=config.node_name, root_public=authority.root_public)
            identity = load_or_create(state_dir)
        else:
            member, identity = found
            if fabric_id != member.fabric_id:
                raise click.ClickException(
                    f"{file} is of fabric {fabric_id}, this node is of {member.fabric_id}"
                )

        def prepare() -> None:
            if found is None:
                name = config.node_name
                become_founder(state_dir, identity, authority, fabric_id, name=name, now_ms=now_ms)
            else:
                equip(state_dir, member, identity, root_key=root_key, now_ms=now_ms)

        life, made, before = restore_backup(
            file,
            state_dir,
            identity.node_id,
            now_ms=now_ms,
            force=force,
            newcomer=newcomer,
            equip=prepare,
        )
    finally:
        scratch.unlink(missing_ok=True)
        lock.release()
    click.echo(f"lost: everything after entry {made.index} of {stamp(made.entry_ms)}", err=True)
    if before is not None:
        click.echo(f"the state before is in {before}", err=True)
    click.echo(f"voter {life.voter} is the whole group, incarnation {life.incarnation}", err=True)
    if newcomer is not None:
        click.echo(f"this machine is a new node of the fabric, {config.node_name}, and its founder", err=True)
    click.echo("next: start this node's agent, then those of the others", err=True)
