"""What the doctor says of a voter's log and rows: nothing when sound, else what is wrong."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from fabric.store.backup import write_backup
from fabric.store.recover import recover_survivor
from fabric.store.sqlite import DATABASE
from fabric.store.verify import LogReport, verify
from tests.fixtures.store_world import NODE
from tests.unit.store.disaster_world import make_survivor


def examined(state: Path, backup: Path | None = None) -> LogReport:
    scratch = state.with_name("scratch")
    scratch.mkdir()
    return verify(state, scratch, backup)


def checks(report: LogReport) -> list[str]:
    return [finding.check for finding in report.findings]


def test_a_sound_voter_is_folded_anew_and_well(tmp_path: Path) -> None:
    report = examined(make_survivor(tmp_path, folded=6, logged=9))
    assert report == LogReport((), entries=9, applied=6, refolded_from=0)


def test_a_row_that_the_log_does_not_say_is_found(tmp_path: Path) -> None:
    state = make_survivor(tmp_path, folded=6, logged=9)
    with closing(sqlite3.connect(state / DATABASE)) as rows:
        rows.execute("UPDATE projects SET name = 'other' WHERE project_id = 'p4'")
        rows.commit()
    report = examined(state)
    assert checks(report) == ["fold"]
    assert "projects" in report.findings[0].what


def test_a_flipped_bit_in_the_log_is_found(tmp_path: Path) -> None:
    state = make_survivor(tmp_path, folded=6, logged=9)
    (segment,) = (state / "log").glob("*.vseg")
    data = bytearray(segment.read_bytes())
    data[70] ^= 1
    segment.write_bytes(data)
    assert "log" in checks(examined(state))


def test_a_log_that_is_gone_is_found(tmp_path: Path) -> None:
    state = make_survivor(tmp_path, folded=6, logged=9)
    for segment in (state / "log").glob("*.vseg"):
        segment.unlink()
    assert checks(examined(state)) == ["log"]


def test_a_log_that_starts_later_is_folded_from_a_backup(tmp_path: Path) -> None:
    state = make_survivor(tmp_path, folded=6, logged=6)
    recover_survivor(tmp_path, NODE, now_ms=1)
    write_backup(state / DATABASE, tmp_path / "rows.tar", incarnation=2, now_ms=1)
    assert examined(state).refolded_from is None
    (tmp_path / "scratch" / "refolded.sqlite").unlink()
    (tmp_path / "scratch").rename(tmp_path / "former")
    report = examined(state, tmp_path / "rows.tar")
    assert report.findings == ()
    assert report.refolded_from == report.applied
