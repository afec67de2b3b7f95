"""What becomes of a voter whose log is damaged when it is opened, wherever it lives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fabric.agent_engine import EmbeddedEngine, NodeEngine, make_engine
from fabric.agent_voter_process import ProcessEngine
from fabric.config import Config, MeshSection, NodeSection, VotersSection
from fabric.mesh.loopback import LoopbackNetwork
from fabric.runtime.clock import SystemClock
from fabric.runtime.node_identity import Membership, identity_of, new_keys
from fabric.store.errors import LogCorruptError
from fabric.store.voter_id import known_voter_id, set_aside
from fabric.store.voter_starts import STARTS_FILE
from proto.ids import FabricId
from tests.fixtures.mesh_nodes import loopback_transports
from tests.fixtures.mesh_view_double import MeshDouble
from tests.fixtures.store_world import NODE
from tests.fixtures.voter_nodes import VoterNode, voter_nodes
from tests.unit.store.disaster_world import SURVIVOR, make_survivor


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[VoterNode]:
    make = loopback_transports(network=LoopbackNetwork(), idle_s=1.0)
    async with voter_nodes(make, tmp_path / "mesh", 1) as nodes:
        yield nodes[0]


def engine(node: VoterNode, directory: Path, *, in_process: bool, others_vote: bool) -> NodeEngine:
    return make_engine(
        Config(
            node=NodeSection(state_dir=str(directory)),
            mesh=MeshSection(voter_port=0),
            voters=VotersSection(in_process=in_process),
        ),
        Membership(FabricId("f" * 32), b"", b""),
        identity_of(new_keys(NODE)),
        node.route,
        node.end.rpc,
        SystemClock(),
        lambda error: None,
        others_vote=others_vote,
        fleet=MeshDouble(),
        address="127.0.0.1",
        label=lambda labels: None,
    )


@pytest.mark.parametrize(("in_process", "others_vote"), [(True, True), (True, False), (False, True)])
async def test_it_votes_no_more_under_its_name_where_others_have_all_of_it(
    node: VoterNode, tmp_path: Path, in_process: bool, others_vote: bool
) -> None:
    state = make_survivor(tmp_path, folded=4, logged=9)
    (segment,) = (state / "log").glob("*.vseg")
    with segment.open("r+b") as file:
        file.seek(20)
        file.write(b"rot")
    damaged = engine(node, tmp_path, in_process=in_process, others_vote=others_vote)
    assert isinstance(damaged, EmbeddedEngine if in_process else ProcessEngine)
    started = {(directory / STARTS_FILE).read_text() for directory in (state, tmp_path)}
    assert started == {"1"}, "counted before anything of it is heard"
    with pytest.raises(LogCorruptError, match="header is damaged"):
        await damaged.open()
    await damaged.close()
    assert known_voter_id(state) == (None if others_vote else SURVIVOR)
    aside = set_aside(state)
    assert (aside is not None) is others_vote, "who is alone keeps all in place for its operator"
