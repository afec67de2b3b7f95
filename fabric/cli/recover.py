"""`fabric recover`: one voter that is left of a lost majority goes on alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fabric.cli.output import stamp
from fabric.cli.target import with_state_dir
from fabric.runtime.clock import SystemClock

if TYPE_CHECKING:
    from fabric.store.looked_at import Seen

PREFIX_CHARS = 8


@click.command()
@click.option("--look", "only_look", is_flag=True, help="Only show what this voter has.")
@click.option("--survivor", is_flag=True, help="Make this voter the whole group.")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A voter's directory that was set aside (state.failed-...), instead of the state.",
)
@click.option("--yes-i-lose-writes", "is_sure", is_flag=True, help="Do not ask.")
@with_state_dir
def recover(state_dir: Path, only_look: bool, survivor: bool, source: Path | None, is_sure: bool) -> None:
    """After the majority of the voters is lost for ever: go on from the one on this node, its agent stopped.

    Where several voters are left, look at each with --look and choose the one with the highest term, then the
    highest index. Writes that only lost voters had are lost, though they were acknowledged. Voters of before
    that come back become hosts, and are invited again.

    Where the disks of all voters failed at once, all were set aside, as state.failed-... beside the state:
    none may be trusted alone. Look at each with --look --from, and go on from the best of them.
    """
    if only_look == survivor:
        raise click.UsageError("give --look, or --survivor")
    from fabric.runtime.restoring import equip, own
    from fabric.store.life_swap import STATE, settle
    from fabric.store.lock import DirectoryLock
    from fabric.store.looked_at import look
    from fabric.store.recover import recover_survivor

    lock = DirectoryLock(state_dir)
    lock.acquire()
    try:
        settle(state_dir)
        seen = look(source or state_dir / STATE)
        _show(seen)
        if only_look:
            return
        member, identity = own(state_dir)
        if not is_sure:
            prefix = member.fabric_id[:PREFIX_CHARS]
            click.echo("acknowledged writes that only other voters had will be lost for ever", err=True)
            if click.prompt(f"type {prefix}, as the fabric's id begins, to go on", err=True) != prefix:
                raise click.ClickException("nothing was changed")
        now_ms = SystemClock().wall_ms()
        equip(state_dir, member, identity, root_key=b"", now_ms=now_ms)
        life, before = recover_survivor(state_dir, identity.node_id, now_ms=now_ms, source=source)
    finally:
        lock.release()
    click.echo(f"kept: entries up to {seen.last_index}; lost: what only other voters had after it", err=True)
    if before is not None:
        click.echo(f"the state before is in {before}", err=True)
    click.echo(f"voter {life.voter} is the whole group, incarnation {life.incarnation}", err=True)
    click.echo("next: start this node's agent, then those of the others", err=True)


def _show(seen: Seen) -> None:
    configuration = seen.applied.configuration
    click.echo(f"voter        {seen.voter or 'none'}")
    click.echo(f"incarnation  {seen.incarnation}")
    click.echo(f"last entry   term {seen.last_term}, index {seen.last_index}")
    click.echo(f"rows hold    index {seen.applied.index}, of {stamp(seen.applied_ms)}")
    click.echo(f"voters       {', '.join(sorted(configuration.all_voters)) or 'none known'}")
    if configuration.learners:
        click.echo(f"standbys     {', '.join(sorted(configuration.learners))}")
