"""The file of all rows: whole or refused, and nothing is changed by one that is refused."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from fabric.core.nodes.queries import ListRoleGrants
from fabric.store import rows_import
from fabric.store.errors import SchemaVersionError, SnapshotRefusedError
from fabric.store.framing import PREFIX_BYTES, frame
from fabric.store.life_swap import NEXT, STATE
from fabric.store.new_life import INDEX_LEAP
from fabric.store.rows_export import GATHERED, export_stopped_voter, export_voter
from fabric.store.rows_file import MAGIC, Header, RowsReader
from fabric.store.rows_import import import_into_voter
from proto.codec import Plain, pack, unpack
from tests.fixtures.store_world import NODE
from tests.unit.store.disaster_world import TERM, life_of, make_survivor, names, opened


def exported(tmp_path: Path, *, folded: int = 6) -> bytes:
    make_survivor(tmp_path / "old", folded=folded, logged=6)
    out = io.BytesIO()
    export_stopped_voter(tmp_path / "old", out, now_ms=5)
    return out.getvalue()


def records(file: bytes) -> list[list[Plain]]:
    found, at = [], 0
    while at < len(file):
        length = int.from_bytes(file[at + 4 : at + 8])
        body = unpack(file[at + PREFIX_BYTES : at + PREFIX_BYTES + length])
        assert isinstance(body, list)
        found.append(body)
        at += PREFIX_BYTES + length
    return found


def framed(*bodies: list[Plain]) -> bytes:
    return b"".join(frame(MAGIC, pack(body)) for body in bodies)


def node(tmp_path: Path) -> Path:
    directory = tmp_path / "node"
    directory.mkdir(exist_ok=True)
    return directory


async def test_what_a_stopped_voter_logged_and_had_not_folded_comes_along(tmp_path: Path) -> None:
    file = exported(tmp_path, folded=3)
    assert RowsReader(io.BytesIO(file)).header.index == 6
    life, header = import_into_voter(io.BytesIO(file), node(tmp_path), NODE, now_ms=1)
    assert (header.term, life.incarnation, life.index) == (TERM, 2, 6 + INDEX_LEAP)
    engine = await opened(tmp_path / "node" / STATE)
    assert await names(engine) == {"n3", "n4", "n5", "n6"}
    assert engine.term > TERM
    (grant,) = await engine.read(ListRoleGrants())
    assert grant.fence == life.index  # above every one that was given before
    await engine.close()
    assert not (tmp_path / "old" / GATHERED).exists()


def test_a_running_voter_gives_what_its_rows_hold(tmp_path: Path) -> None:
    state = make_survivor(tmp_path / "old", folded=4, logged=6)
    out = io.BytesIO()
    header, made = export_voter(state, out, now_ms=5)
    reader = RowsReader(io.BytesIO(out.getvalue()))
    for _ in reader.content():
        pass
    assert (reader.header, reader.sum) == (header, made)
    assert (header.index, header.term, header.incarnation, header.made_ms) == (4, TERM, 1, 5)


def refused(tmp_path: Path, file: bytes, said: str = ".") -> None:
    directory = node(tmp_path)
    with pytest.raises(SnapshotRefusedError, match=said):
        import_into_voter(io.BytesIO(file), directory, NODE, now_ms=1)
    assert not (directory / STATE).exists()
    assert not (directory / NEXT).exists()


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    file = exported(tmp_path)
    at, cuts = 0, []
    while at < len(file):  # between records, where nothing else is wrong
        cuts.append(at)
        at += PREFIX_BYTES + int.from_bytes(file[at + 4 : at + 8])
    for cut in (*cuts, 5, len(file) // 2, len(file) - 1):
        refused(tmp_path, file[:cut])
    refused(tmp_path, file + b"\0", "follows the end")


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    file = exported(tmp_path)
    for at in range(0, len(file), len(file) // 40):
        refused(tmp_path, file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :])


def test_rows_that_were_changed_and_framed_anew_are_refused(tmp_path: Path) -> None:
    bodies = records(exported(tmp_path))
    at = next(i for i, body in enumerate(bodies) if body[0] == "row")
    for wrong in (
        bodies[:at] + bodies[at + 1 :],  # one less
        [*bodies[:at], [*bodies[at][:-1], bodies[at][-1], 1], *bodies[at + 1 :]],  # wider
        [body for body in bodies if body[:2] != ["table", "audit"]],  # those of one table in another
        [bodies[0], *bodies[at:]],  # of no table
        [bodies[0], ["table", "spells", []], *bodies[1:]],
    ):
        refused(tmp_path, framed(*wrong))


def test_whoever_only_reads_a_file_sees_that_rows_are_missing(tmp_path: Path) -> None:
    bodies = records(exported(tmp_path))
    at = next(i for i, body in enumerate(bodies) if body[0] == "row")
    reader = RowsReader(io.BytesIO(framed(*bodies[:at], *bodies[at + 1 :])))
    with pytest.raises(SnapshotRefusedError, match="not those that were written"):
        list(reader.content())


def test_another_form_and_another_schema_are_refused(tmp_path: Path) -> None:
    first, *rest = records(exported(tmp_path))
    fields = first[1]
    assert isinstance(fields, dict)
    refused(tmp_path, framed(["header", fields | {"form": 2}], *rest), "its form is 2")
    position = fields["position"]
    assert isinstance(position, dict)
    old = ["header", fields | {"position": position | {"schema_version": 1}}]
    with pytest.raises(SchemaVersionError):
        import_into_voter(io.BytesIO(framed(old, *rest)), node(tmp_path), NODE, now_ms=1)
    assert not (tmp_path / "node" / STATE).exists()


def test_what_is_read_back_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an engine made of a row on its way in."""
    file = exported(tmp_path)
    monkeypatch.setattr(rows_import, "carried_digest", lambda connection, level: bytes(32))
    refused(tmp_path, file, "read back")


def test_a_state_that_is_there_stays(tmp_path: Path) -> None:
    file = exported(tmp_path)
    state = make_survivor(tmp_path / "node", folded=3, logged=3)
    before = life_of(state)
    with pytest.raises(SnapshotRefusedError, match="already"):
        import_into_voter(io.BytesIO(file), tmp_path / "node", NODE, now_ms=1)
    assert life_of(state) == before


def test_whoever_imports_may_refuse_the_fabric(tmp_path: Path) -> None:
    file = exported(tmp_path)

    def accept(header: Header) -> None:
        raise SnapshotRefusedError(f"not {header.fabric_id}")

    with pytest.raises(SnapshotRefusedError, match="not fabric-1"):
        import_into_voter(io.BytesIO(file), node(tmp_path), NODE, now_ms=1, accept=accept)
    assert not (tmp_path / "node" / STATE).exists()
