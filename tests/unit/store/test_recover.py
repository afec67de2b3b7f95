"""The survivor of a lost majority keeps all of its log, above all indices and fences that were ever given."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from fabric.core.nodes.queries import ListRoleGrants
from fabric.store import life_swap, new_life, recover
from fabric.store.errors import LogCorruptError
from fabric.store.incarnation import FIRST_INCARNATION
from fabric.store.life_swap import NEXT, STATE, settle
from fabric.store.looked_at import look
from fabric.store.new_life import INDEX_LEAP
from fabric.store.recover import recover_survivor
from fabric.store.voter_id import disown_voter, failed_states, known_voter_id, name_voter, set_aside
from fabric.store.voter_starts import is_older_than_its_node
from proto.ids import RequestId
from tests.fixtures.store_world import NODE
from tests.unit.store.disaster_world import (
    GROUP,
    SURVIVOR,
    TERM,
    life_of,
    make_survivor,
    names,
    opened,
    project,
    tables_of,
)


async def test_all_entries_of_its_log_are_kept_and_the_next_is_above_all_others(tmp_path: Path) -> None:
    state = make_survivor(tmp_path, folded=4, logged=9)
    life, before = recover_survivor(tmp_path, NODE, now_ms=1)
    assert (life.incarnation, life.index) == (FIRST_INCARNATION + 1, 9 + INDEX_LEAP)
    assert life_of(state) == (life.voter, life.incarnation)
    assert life.voter != SURVIVOR
    engine = await opened(state)
    try:
        assert await names(engine) == {f"n{at}" for at in range(3, 10)}
        assert engine.term > TERM
        (grant,) = await engine.read(ListRoleGrants())
        assert grant.fence == life.index, "who held a role before is fenced"
        again = await engine.propose(project(3), request_id=RequestId("req-3"))
        assert again.replayed, "what was answered before is remembered"
        done = await engine.propose(project(10), request_id=RequestId("req-10"))
        assert done.index > life.index
    finally:
        await engine.close()
    assert before is not None
    with tables_of(before) as tables:  # as it was: no entry of doubt was folded there
        assert (tables.mark.index, tables.mark.configuration) == (4, GROUP)


def test_two_lives_from_one_state_are_kept_apart_by_the_clock(tmp_path: Path) -> None:
    lives = []
    for now_ms in (1_900_000_000_000, 1_900_000_009_000):
        directory = tmp_path / str(now_ms)
        make_survivor(directory, folded=2, logged=5)
        lives.append(recover_survivor(directory, NODE, now_ms=now_ms)[0])
    assert lives[0].incarnation < lives[1].incarnation
    assert lives[0].index < lives[1].index


class CrashedError(Exception):
    pass


STEPS = [
    (recover, "begin_building"),
    (recover, "copy_tables"),
    (recover, "begin_new_life"),
    (new_life, "name_voter"),
    (new_life, "write_incarnation"),
    (new_life, "checkpoint"),
    (recover, "commit"),
]


@pytest.mark.parametrize(("module", "step"), STEPS, ids=[step for _, step in STEPS])
async def test_a_crash_while_building_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, step: str
) -> None:
    state = make_survivor(tmp_path, folded=4, logged=9)

    def crash(*_: object, **__: object) -> None:
        raise CrashedError

    with monkeypatch.context() as crashing:
        crashing.setattr(module, step, crash)
        with pytest.raises(CrashedError):
            recover_survivor(tmp_path, NODE, now_ms=1)
    assert settle(tmp_path) is None
    assert life_of(state) == (SURVIVOR, FIRST_INCARNATION)
    seen = look(state)
    assert (seen.applied.index, seen.applied.configuration, seen.last_index) == (4, GROUP, 9)
    recover_survivor(tmp_path, NODE, now_ms=1)
    engine = await opened(state)
    assert len(await names(engine)) == 7
    await engine.close()


@pytest.mark.parametrize("syncs", range(6))
async def test_a_crash_while_swapping_leaves_one_of_both_and_never_a_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syncs: int
) -> None:
    state = make_survivor(tmp_path, folded=4, logged=9)
    left = iter([True] * syncs)

    def sync(_: Path) -> None:
        if not next(left, False):
            raise CrashedError

    with monkeypatch.context() as crashing:
        crashing.setattr(life_swap, "fsync_directory", sync)
        with contextlib.suppress(CrashedError):
            recover_survivor(tmp_path, NODE, now_ms=1)
    decided = (tmp_path / NEXT).exists() or life_of(state)[0] != SURVIVOR
    settle(tmp_path)
    voter, incarnation = life_of(tmp_path / STATE)
    assert (voter != SURVIVOR, incarnation) == ((True, 2) if decided else (False, 1))
    if decided:
        engine = await opened(state)
        assert len(await names(engine)) == 7
        await engine.close()
        assert life_of(tmp_path / "state.before-2") == (SURVIVOR, FIRST_INCARNATION)


def test_looking_changes_nothing_and_tells_what_there_is(tmp_path: Path) -> None:
    state = make_survivor(tmp_path, folded=4, logged=9)
    (segment,) = (state / "log").glob("*.vseg")
    torn = bytearray(segment.read_bytes())
    at = len(bytes(torn).rstrip(b"\0")) - 3
    torn[at] ^= 1
    segment.write_bytes(torn)
    seen = look(state)
    assert (seen.last_index, seen.last_term, seen.applied.index) == (8, TERM, 4)
    assert segment.read_bytes() == torn


def test_without_a_voter_there_is_nothing_to_recover(tmp_path: Path) -> None:
    with pytest.raises(LogCorruptError):
        recover_survivor(tmp_path, NODE, now_ms=1)
    assert not (tmp_path / STATE).exists()


async def test_all_disks_failed_and_the_best_of_them_goes_on(tmp_path: Path) -> None:
    """Each was set aside when its node began anew: none has a state any more, and nothing is lost."""
    state = make_survivor(tmp_path, folded=4, logged=9)
    disown_voter(state)
    aside = set_aside(state)
    assert aside is not None
    assert failed_states(tmp_path) == [aside]
    assert look(aside).last_index == 9
    life, before = recover_survivor(tmp_path, NODE, now_ms=1, source=aside)
    assert before is None
    assert life.voter != SURVIVOR
    assert aside.is_dir(), "it stays as it was"
    engine = await opened(state)
    try:
        assert await names(engine) == {f"n{at}" for at in range(3, 10)}
    finally:
        await engine.close()


async def test_what_came_after_a_failed_disk_is_set_aside_as_at_any_recovery(tmp_path: Path) -> None:
    state = make_survivor(tmp_path, folded=4, logged=9)
    disown_voter(state)
    aside = set_aside(state)
    name_voter(state, NODE)  # it was asked to vote again, and waited for its rows
    _, before = recover_survivor(tmp_path, NODE, now_ms=1, source=aside)
    assert before is not None
    assert known_voter_id(before) is not None
    assert not is_older_than_its_node(state, tmp_path)
