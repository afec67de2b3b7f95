"""What a node does at its start with a voter's directory that was put back from an older copy."""

from __future__ import annotations

import shutil
from pathlib import Path

from fabric.agent_voter import holds_rows
from fabric.config import Config, NodeSection
from fabric.runtime.authority import ROOT_FILE
from fabric.store.life_swap import STATE
from fabric.store.voter_id import known_voter_id, voter_here
from fabric.store.voter_starts import count_start
from tests.fixtures.store_world import NODE


def set_back(node: Path) -> None:
    state = node / STATE
    voter_here(state, NODE)
    count_start(state, node)
    shutil.copytree(state, node / "copy")
    count_start(state, node)
    shutil.rmtree(state)
    (node / "copy").rename(state)


def looks(node: Path, *, others_vote: bool) -> tuple[bool, list[str]]:
    told: list[str] = []
    config = Config(node=NodeSection(state_dir=str(node)))
    holds = holds_rows(
        config, is_founder=True, others_vote=others_vote, tell=lambda what, why: told.append(f"{what}: {why}")
    )
    return holds, told


def test_one_of_several_votes_no_more_under_its_name(tmp_path: Path) -> None:
    (tmp_path / ROOT_FILE).touch()
    set_back(tmp_path)
    voter = known_voter_id(tmp_path / STATE)
    assert voter is not None
    holds, told = looks(tmp_path, others_vote=True)
    assert not holds
    assert "learns everything anew" in told[0]
    assert known_voter_id(tmp_path / STATE) is None
    (aside,) = tmp_path.glob(f"{STATE}.failed-*")
    assert aside.name.endswith(voter.rpartition(".")[2])
    assert looks(tmp_path, others_vote=True) == (False, []), "also the founder waits to be asked again"


def test_one_that_is_alone_goes_on_and_says_so(tmp_path: Path) -> None:
    set_back(tmp_path)
    voter = known_voter_id(tmp_path / STATE)
    holds, told = looks(tmp_path, others_vote=False)
    assert holds
    assert "those writes are lost" in told[0]
    assert known_voter_id(tmp_path / STATE) == voter


def test_an_honest_directory_is_no_news(tmp_path: Path) -> None:
    voter_here(tmp_path / STATE, NODE)
    assert looks(tmp_path, others_vote=True) == (True, [])
    for _ in range(2):
        count_start(tmp_path / STATE, tmp_path)
        assert looks(tmp_path, others_vote=True) == (True, [])
