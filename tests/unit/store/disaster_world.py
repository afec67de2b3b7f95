"""A node's directory with one voter's state in it, whose log is ahead of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fabric.core.identity.queries import ListProjects
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import HardState
from fabric.runtime.clock import SystemClock
from fabric.store.command_entry import encode_command_entry
from fabric.store.files import OsFiles
from fabric.store.incarnation import read_incarnation
from fabric.store.life_swap import STATE
from fabric.store.lone_voter import lone_voter
from fabric.store.sqlite import DATABASE, open_writer
from fabric.store.voter_engine import VoterEngine
from fabric.store.voter_id import known_voter_id
from fabric.store.voter_log import SEGMENT_BYTES_MIN, VoterLog
from fabric.store.voter_start import found_voter
from fabric.store.voter_tables import VoterTables
from proto.commands import Command, encode_command
from proto.commands.identity import ProjectCreate
from proto.commands.nodes import RoleHold
from proto.ids import LogIndex, NodeId, ProjectId, RequestId, Term, VoterId
from proto.raft import EntryKind, LogEntry
from tests.fixtures.store_world import DOMAIN, NODE, START_MS, fabric_init

LOST = [VoterId(f"{letter * 32}.00000000") for letter in "bc"]
SURVIVOR = VoterId(f"{NODE}.00000001")
GROUP = Configuration(frozenset({SURVIVOR, *LOST}))
TERM = Term(7)


def entry(index: int, command: Command, term: Term = TERM) -> LogEntry:
    data = encode_command_entry(START_MS + index, RequestId(f"req-{index}"), encode_command(command))
    return LogEntry(index=LogIndex(index), term=term, kind=EntryKind.COMMAND, data=data)


def project(number: int) -> ProjectCreate:
    return ProjectCreate(project_id=ProjectId(f"p{number}"), domain_id=DOMAIN, name=f"n{number}")


def make_survivor(directory: Path, *, folded: int, logged: int) -> Path:
    """Entries 1 to `logged` in the log, 1 to `folded` in the rows: the fabric, a role, then projects."""
    state = directory / STATE
    (state / "log").mkdir(parents=True)
    (state / "voter.id").write_text(SURVIVOR)
    commands = [fabric_init(), RoleHold(role="scheduler", node_id=NodeId("b" * 32))]
    entries = [entry(at, command) for at, command in enumerate(commands, 1)]
    entries += [entry(at, project(at)) for at in range(3, logged + 1)]
    connection = open_writer(state / DATABASE)
    with closing(VoterLog(OsFiles(state / "log"), segment_bytes=SEGMENT_BYTES_MIN)) as voter_log:
        tables = VoterTables(connection)
        found_voter(voter_log, tables, SnapshotMark(LogIndex(0), Term(0), GROUP))
        voter_log.write(hard_state=HardState(TERM), entries=entries)
        tables.fold(entries[:folded])
    connection.close()
    connection.engine.dispose()
    return state


@contextmanager
def tables_of(state: Path) -> Iterator[VoterTables]:
    connection = open_writer(state / DATABASE)
    try:
        yield VoterTables(connection)
    finally:
        connection.close()
        connection.engine.dispose()


async def opened(state: Path) -> VoterEngine:
    me = known_voter_id(state)
    assert me is not None
    engine = lone_voter(state, clock=SystemClock(), me=me)
    await engine.open()
    assert engine.configuration == Configuration(frozenset({me}))
    return engine


async def names(engine: VoterEngine) -> set[str]:
    return {found.name for found in await engine.read(ListProjects())} - {"admin", "service"}


def life_of(state: Path) -> tuple[VoterId | None, int]:
    return known_voter_id(state), read_incarnation(state)
