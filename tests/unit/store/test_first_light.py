"""A state directory of first light goes on as that of one voter, whatever a crash left of it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from sqlalchemy import update

from fabric.core.identity.queries import ListProjects
from fabric.core.raft.configuration import Configuration
from fabric.runtime.clock import SystemClock
from fabric.store import first_light
from fabric.store import tables as t
from fabric.store.apply import Entry, apply_group
from fabric.store.errors import LogCorruptError
from fabric.store.first_light import carry_over
from fabric.store.framing import GENESIS, frame, hash_bytes
from fabric.store.lone_voter import lone_voter
from fabric.store.schema import create_schema
from fabric.store.sqlite import DATABASE, open_writer
from proto.commands import Command, encode_command
from proto.commands.identity import ProjectCreate
from proto.ids import LogIndex, NodeId, ProjectId, RequestId, VoterId
from tests.fixtures.store_world import DOMAIN, fabric_init

NODE = NodeId("a" * 32)
LATER_MS = 1_000_000


def commands(count: int) -> list[Command]:
    made: list[Command] = [fabric_init()]
    for number in range(count):
        made.append(ProjectCreate(project_id=ProjectId(f"p{number}"), domain_id=DOMAIN, name=f"n{number}"))
    return made


def write_old_log(directory: Path, wanted: list[Command], *, segment_records: int = 4) -> list[bytes]:
    """As first light wrote it; gives each record's hash."""
    folder = directory / "log"
    folder.mkdir(parents=True, exist_ok=True)
    previous, hashes = GENESIS, []
    for first in range(0, len(wanted), segment_records):
        head = struct.pack(">8sQ32s", b"FABLOG01", first + 1, previous)
        data = (head + struct.pack(">I", zlib.crc32(head))).ljust(64, b"\0")
        for index, command in enumerate(wanted[first : first + segment_records], first + 1):
            body, request = encode_command(command), f"q{index}".encode()
            fixed = struct.pack(
                ">32sQQQQ32sH", previous, index - 1, index, 1, index * 10, hash_bytes(body), len(request)
            )
            record = frame(b"FREC", fixed + request + body)
            previous = hash_bytes(record)
            hashes.append(previous)
            data += record
        (folder / f"{first + 1:020d}.seg").write_bytes(data + bytes(4_096))
    return hashes


def write_old_tables(directory: Path, wanted: list[Command], hashes: list[bytes]) -> None:
    connection = open_writer(directory / DATABASE)
    with connection.begin():
        create_schema(connection)
        entries = [
            Entry(LogIndex(at), at * 10, RequestId(f"q{at}"), hash_bytes(encode_command(command)), command)
            for at, command in enumerate(wanted, 1)
        ]
        apply_group(connection, entries)
        last = len(wanted)
        values = {"applied_index": last, "time_ms": last * 10, "applied_hash": hashes[last - 1]}
        connection.execute(update(t.position).values(**values))
    connection.close()
    connection.engine.dispose()


async def names_after(directory: Path, me: VoterId) -> set[str]:
    state = lone_voter(directory, clock=SystemClock(), me=me)
    await state.open()
    try:
        assert state.configuration == Configuration(frozenset({me}))
        again = await state.propose(commands(0)[0], request_id=RequestId("q1"))
        assert again.replayed, "what was answered before is remembered"
        await state.propose(
            ProjectCreate(project_id=ProjectId("new"), domain_id=DOMAIN, name="new"),
            request_id=RequestId("q-new"),
        )
        return {found.name for found in await state.read(ListProjects())} - {"admin", "service"}
    finally:
        await state.close()


@pytest.mark.parametrize("folded", [9, 6, 1])
async def test_log_and_tables_go_on_as_one_voter(tmp_path: Path, folded: int) -> None:
    wanted = commands(8)
    hashes = write_old_log(tmp_path, wanted)
    write_old_tables(tmp_path, wanted[:folded], hashes)
    me = carry_over(tmp_path, NODE)
    assert not list((tmp_path / "log").glob("*.seg"))
    assert await names_after(tmp_path, me) == {*(f"n{number}" for number in range(8)), "new"}


async def test_a_torn_tail_was_never_answered(tmp_path: Path) -> None:
    wanted = commands(8)
    hashes = write_old_log(tmp_path, wanted, segment_records=100)
    write_old_tables(tmp_path, wanted[:5], hashes)
    (path,) = (tmp_path / "log").glob("*.seg")
    data = path.read_bytes().rstrip(b"\0")
    path.write_bytes(data[:-20] + bytes(4_096))
    assert "n7" not in await names_after(tmp_path, carry_over(tmp_path, NODE))


async def test_a_crash_at_any_step_is_met_by_doing_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = commands(8)
    hashes = write_old_log(tmp_path, wanted)
    write_old_tables(tmp_path, wanted[:4], hashes)

    class CrashedError(Exception):
        pass

    def crash(*_arguments: object, **_named: object) -> None:
        raise CrashedError

    for owner, name in (
        (first_light, "apply_group"),
        (first_light, "checkpoint"),
        (first_light.VoterLog, "create"),
        (Path, "unlink"),
    ):
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, crash)
            with pytest.raises(CrashedError):
                carry_over(tmp_path, NODE)
    me = carry_over(tmp_path, NODE)
    assert carry_over(tmp_path, NODE) == me
    assert await names_after(tmp_path, me) == {*(f"n{number}" for number in range(8)), "new"}


def test_tables_of_another_log_are_refused_and_left_alone(tmp_path: Path) -> None:
    wanted = commands(8)
    write_old_log(tmp_path, wanted)
    write_old_tables(tmp_path, wanted[:4], [b"x" * 32] * 4)
    before = sorted((tmp_path / "log").glob("*.seg"))
    with pytest.raises(LogCorruptError, match="entry 4 differs"):
        carry_over(tmp_path, NODE)
    assert sorted((tmp_path / "log").glob("*.seg")) == before


def test_a_log_that_ends_before_the_tables_is_refused(tmp_path: Path) -> None:
    wanted = commands(8)
    hashes = write_old_log(tmp_path, wanted)
    write_old_tables(tmp_path, wanted, hashes)
    newest = max((tmp_path / "log").glob("*.seg"))
    newest.unlink()
    with pytest.raises(LogCorruptError, match="the log ends at 8"):
        carry_over(tmp_path, NODE)
