"""What an operator asks of an agent about voters: the leader's word before one's own, and where to ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from fabric.agent_voter import VoterSide
from fabric.agent_voters_desk import AgentVotersDesk
from fabric.core.nodes.model import Node
from fabric.errors import NoQuorumError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.log_status import STATUS
from fabric.runtime.node_admin import NodeRefusedError
from proto.commands.nodes import VoterWish
from proto.ids import NodeId, VoterId, voter_of
from tests.fixtures.mesh_nodes import RpcEnd, loopback_transports, rpc_ends
from tests.fixtures.mesh_view_double import MeshDouble, member_named
from tests.unit.runtime.voter_group import renamed


def status(leader: NodeId, *learners: NodeId) -> dict[str, Any]:
    return {
        "leader": voter_of(leader, "1"),
        "term": 1,
        "index": 2,
        "voters": [voter_of(leader, "1")],
        "outgoing": [],
        "learners": [voter_of(node_id, "1") for node_id in learners],
        "seen": {},
        "wishes": {},
        "autopilot": "",
    }


@dataclass
class Side:
    """As much of a `VoterSide` as the desk asks."""

    told: dict[str, Any]
    rows: dict[str, NodeId]
    leads: bool = False
    is_serving: bool = True
    voter_id: VoterId | None = field(default_factory=lambda: VoterId("me"))
    proposed: list[VoterWish] = field(default_factory=list)
    handed_to: list[NodeId] = field(default_factory=list)

    @property
    def admin(self) -> Side:
        return self

    @property
    def state(self) -> Side:
        return self

    async def find(self, text: str) -> Node:
        if text not in self.rows:
            raise NodeRefusedError(f"no node {text!r}")
        node_id = self.rows[text]
        return Node(
            node_id=node_id,
            name=text,
            curve_public=b"",
            certificate=b"",
            generation=1,
            admitted_ms=0,
            body=b"",
            signature=b"",
        )

    async def propose(self, command: VoterWish, *, request_id: str) -> None:
        self.proposed.append(command)

    async def log_status(self) -> dict[str, Any]:
        return self.told

    async def hand_over_to(self, node_id: NodeId) -> None:
        self.handed_to.append(node_id)


@dataclass
class World:
    """`me` asks; `chief` says that it conducts."""

    me: RpcEnd
    chief: RpcEnd
    side: Side | None = None
    conducts: bool = True

    def desk(self) -> AgentVotersDesk:
        claims = (("conductor", 3),) if self.conducts else ()
        view = MeshDouble(
            [
                renamed(member_named("me"), self.me.node_id),
                renamed(member_named("chief", *claims), self.chief.node_id),
            ]
        )
        return AgentVotersDesk(view, cast(Rpc, self.me.rpc), lambda: cast(VoterSide | None, self.side))

    def answer(self, answer: Any) -> None:
        async def serve(peer: NodeId, body: object) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.chief.rpc.serve(STATUS, serve)

    def be_voter(self, **changes: Any) -> Side:
        rows = {"me": self.me.node_id, "chief": self.chief.node_id}
        self.side = Side(status(self.chief.node_id, self.me.node_id), rows, **changes)
        return self.side


@pytest.fixture
async def world() -> Any:
    me, chief = await rpc_ends(loopback_transports(), 2)
    yield World(me, chief)
    for end in (me, chief):
        await end.close()


def nodes(shown: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["node"], row["role"]) for row in shown["voters"]]


async def test_the_leaders_word_is_asked_for(world: World) -> None:
    world.be_voter()
    world.answer(status(world.chief.node_id))
    shown = await world.desk().show()
    assert (nodes(shown), shown["seen_from"]) == ([("chief", "leader")], "leader")
    world.side = None
    assert await world.desk().show() == shown


async def test_who_leads_asks_nobody(world: World) -> None:
    side = world.be_voter(leads=True)
    side.told = status(world.me.node_id)
    shown = await world.desk().show()
    assert (nodes(shown), shown["seen_from"]) == ([("me", "leader")], "leader")


@pytest.mark.parametrize("case", ["failed", "nonsense", "nobody"])
async def test_without_the_leader_ones_own_word_is_shown_as_such(world: World, case: str) -> None:
    side = world.be_voter()
    if case == "nobody":
        world.conducts = False
    else:
        world.answer(NoQuorumError("not now") if case == "failed" else "nonsense")
    shown = await world.desk().show()
    assert (nodes(shown), shown["seen_from"]) == ([("chief", "leader"), ("me", "learner")], "here")
    side.is_serving = False
    with pytest.raises(NoQuorumError):
        await world.desk().show()
    world.side = None
    with pytest.raises(NoQuorumError):
        await world.desk().show()


async def test_a_wish_is_written_down(world: World) -> None:
    side = world.be_voter()
    me = world.me.node_id
    assert await world.desk().wish("me", "wanted") == {"id": me, "name": "me", "wish": "wanted"}
    assert side.proposed == [VoterWish(node_id=me, wish="wanted")]
    with pytest.raises(NodeRefusedError):
        await world.desk().wish("none", "wanted")


async def test_only_who_stands_by_is_promoted(world: World) -> None:
    side = world.be_voter(leads=True)
    await world.desk().promote("me")
    assert side.proposed == [VoterWish(node_id=world.me.node_id, wish="wanted")]
    with pytest.raises(NodeRefusedError, match="chief votes already"):
        await world.desk().promote("chief")
    side.told = status(world.chief.node_id)
    with pytest.raises(NodeRefusedError, match="me does not stand by"):
        await world.desk().promote("me")
    assert len(side.proposed) == 1


async def test_the_lead_is_handed_to_who_is_named(world: World) -> None:
    side = world.be_voter(leads=True)
    assert await world.desk().lead("chief") == {"id": world.chief.node_id, "name": "chief"}
    assert side.handed_to == [world.chief.node_id]


async def test_who_holds_no_part_of_the_log_says_where_to_ask(world: World) -> None:
    for asking in (world.desk().wish("me", ""), world.desk().promote("me"), world.desk().lead("me")):
        with pytest.raises(NodeRefusedError, match="`fabric voters` lists them"):
            await asking


async def test_where_nobody_votes_nobody_is_wished_to(world: World) -> None:
    side = world.be_voter(leads=True)
    side.voter_id = None
    for asking in (world.desk().wish("me", "wanted"), world.desk().lead("me")):
        with pytest.raises(NodeRefusedError, match="nobody votes"):
            await asking
    assert side.proposed == []
