"""A backup becomes the state of one voter, the whole group of a new life. What came after it is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select, update

from fabric.store import tables as t
from fabric.store.backup import Manifest, opened_backup
from fabric.store.errors import SnapshotRefusedError
from fabric.store.incarnation import read_incarnation
from fabric.store.life_swap import STATE, begin_building, commit, settle
from fabric.store.new_life import NewLife, begin_new_life, copy_tables
from fabric.store.sqlite import DATABASE, opened_writer
from fabric.store.voter_tables import VoterTables
from proto.ids import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """A machine that was no member, with the root's key out of the backup, and what it is to be called."""

    name: str
    root_public: bytes


def restore_backup(
    path: Path,
    node_directory: Path,
    node_id: NodeId,
    *,
    now_ms: int,
    force: bool,
    newcomer: Newcomer | None = None,
    equip: Callable[[], None] = lambda: None,
) -> tuple[NewLife, Manifest, Path | None]:
    """The new life, what it was made from, and where the state before is. The node's lock is held. `equip` is
    called when all is built, before it is the state. `newcomer`: this node was no member.

    Raises SnapshotRefusedError: the file is damaged or of another schema, or there is a state already and not
    `force`. OSError, sqlite3.Error, SQLAlchemyError, LogFailedError. Nothing is changed then.
    """
    settle(node_directory)
    state = node_directory / STATE
    if state.exists() and not force:
        raise SnapshotRefusedError(f"{state} is there already; --force sets it aside")
    building = begin_building(node_directory)
    unpacked = building / "unpacked"
    with opened_backup(path, unpacked) as (manifest, _, source):
        copy_tables(source, building)
    unpacked.unlink()
    with opened_writer(building / DATABASE) as connection:
        tables = VoterTables(connection)
        if newcomer is not None:
            _found_anew(connection, node_id, newcomer)
        life = begin_new_life(
            connection,
            building,
            node_id,
            after=tables.mark,
            last_term=tables.mark.term,
            old_incarnation=max(manifest.incarnation, read_incarnation(state)),
            time_ms=manifest.entry_ms,
            now_ms=now_ms,
        )
    equip()
    return life, manifest, commit(node_directory)


def _found_anew(connection: Connection, node_id: NodeId, newcomer: Newcomer) -> None:
    """Only the founder is admitted without a token that somebody made. Raises SnapshotRefusedError."""
    with connection.begin():
        root_public = connection.execute(select(t.fabric.c.root_public)).scalar_one()
        if bytes(root_public) != newcomer.root_public:
            raise SnapshotRefusedError("the root's key in the backup is not that of its rows")
        others = (t.nodes.c.name == newcomer.name) & (t.nodes.c.node_id != node_id)
        if connection.execute(select(t.nodes.c.node_id).where(others)).first() is not None:
            raise SnapshotRefusedError(
                f"a node of that fabric is called {newcomer.name}, and this machine is another: set another "
                "node.name here, and remove the former one when it is lost"
            )
        connection.execute(update(t.fabric).values(founder_id=node_id))
