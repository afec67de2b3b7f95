"""Whom a voter answers about the log, and what it takes for a question."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.errors import Outcome, RemoteError
from fabric.runtime.log_service import REQUEST_ID_CHARS_MAX
from fabric.runtime.log_status import STATUS, LogStatusService, log_status
from fabric.runtime.voter_state import PROPOSE, READ_INDEX
from proto.codec import Plain
from proto.commands import command_to_plain
from proto.commands.nodes import VoterWish
from proto.ids import NodeId, RequestId
from tests.fixtures.mesh_nodes import loopback_transports, until
from tests.fixtures.store_world import NODE, node_admit
from tests.fixtures.voter_nodes import PATIENCE_S, VoterNode, change, found, voter_nodes
from tests.unit.runtime.voter_group import Seat, project, seat


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[VoterNode]]:
    """The first is a group of its own; the others run no voter yet."""
    async with voter_nodes(loopback_transports(), tmp_path, 3) as made:
        await found(made[0])
        yield made


@pytest.fixture
def first(nodes: list[VoterNode]) -> Seat:
    return seat(nodes[0])


async def ask(who: VoterNode, whom: Seat, method: str, body: Mapping[str, Plain]) -> Any:
    return await who.end.rpc.call(whom.node.node_id, method, body, timeout_ms=20_000)


def asking(**changes: Plain) -> dict[str, Plain]:
    body: dict[str, Plain] = {"command": command_to_plain(project(0)), "request_id": "q0"}
    return body | changes


async def test_who_is_not_of_the_group_is_told_nothing_and_writes_nothing(
    nodes: list[VoterNode], first: Seat
) -> None:
    index = first.state.applied_index
    for method in (PROPOSE, READ_INDEX):
        with pytest.raises(RemoteError, match="only the log's own") as caught:
            await ask(nodes[2], first, method, asking())
        assert (caught.value.remote_code, caught.value.outcome) == (
            "fabric.raft.not_in_group",
            Outcome.NOT_DONE,
        )
    assert first.state.applied_index == index


async def test_voters_and_learners_are_answered(nodes: list[VoterNode], first: Seat) -> None:
    one, voter, learner = nodes
    for node in (voter, learner):
        await node.start(Configuration())
    await change({one.voter, voter.voter}, {learner.voter}, one, voter)
    await until(lambda: one.engine.is_leader, PATIENCE_S)
    for number, node in enumerate((voter, learner)):
        body = asking(command=command_to_plain(project(number)), request_id=f"q{number}")
        answer = await ask(node, first, PROPOSE, body)
        assert (await ask(node, first, READ_INDEX, {}))["index"] >= answer["index"]


async def test_who_was_removed_is_answered_no_more(nodes: list[VoterNode], first: Seat) -> None:
    one, gone, _ = nodes
    await gone.start(Configuration())
    await change({one.voter}, {gone.voter}, one)
    await ask(gone, first, READ_INDEX, {})
    await change({one.voter}, set(), one)
    with pytest.raises(RemoteError, match="only the log's own"):
        await ask(gone, first, READ_INDEX, {})


@pytest.mark.parametrize(
    "changes",
    [{"request_id": wrong} for wrong in (None, 5, "", "x" * (REQUEST_ID_CHARS_MAX + 1))]
    + [{"command": wrong} for wrong in (None, 5, {}, {"kind": "none"})],
)
async def test_what_is_no_proposal_is_refused(
    nodes: list[VoterNode], first: Seat, changes: dict[str, Plain]
) -> None:
    index = first.state.applied_index
    with pytest.raises(RemoteError) as caught:
        await ask(nodes[0], first, PROPOSE, asking(**changes))
    assert caught.value.outcome is Outcome.NOT_DONE
    assert first.state.applied_index == index


async def test_a_closed_service_answers_nobody_and_may_be_opened_again(first: Seat) -> None:
    first.service.close()
    for method in (PROPOSE, READ_INDEX):
        with pytest.raises(RemoteError) as caught:
            await ask(first.node, first, method, asking())
        assert caught.value.remote_code == "fabric.mesh.no_method"
    again = seat(first.node)
    await ask(again.node, again, READ_INDEX, {})


# ---- status


async def test_the_status_tells_of_every_member_as_the_leader_sees_it(
    nodes: list[VoterNode], first: Seat
) -> None:
    one, learner, _ = nodes
    await learner.start(Configuration())
    await change({one.voter}, {learner.voter}, one)
    await first.state.propose(node_admit(), request_id=RequestId("admit"))
    await first.state.propose(VoterWish(node_id=NODE, wish="unwanted"), request_id=RequestId("wish"))
    told = await log_status(one.engine, first.state, "waits")
    assert told["leader"] == one.voter
    assert (told["voters"], told["outgoing"], told["learners"]) == ([one.voter], [], [learner.voter])
    assert (told["term"], told["index"]) == (one.engine.term, one.engine.applied_index)
    assert set(told["seen"]) == {one.voter, learner.voter}
    assert told["seen"][one.voter] == {"lag": 0, "silent_ms": 0, "hanging_ms": 0}
    assert told["wishes"] == {NODE: "unwanted"}
    assert told["autopilot"] == "waits"
    assert told["level"] == 1
    await until(lambda: learner.engine.leader_id == one.voter, PATIENCE_S)
    other = await log_status(learner.engine, seat(learner).state, "")
    assert (other["leader"], other["seen"]) == (one.voter, {})


async def test_only_members_of_the_fabric_are_told_the_status(nodes: list[VoterNode], first: Seat) -> None:
    _, member, stranger = nodes

    def is_member(node_id: NodeId) -> bool:
        return node_id == member.node_id

    service = LogStatusService(
        first.node.end.rpc, lambda: log_status(first.node.engine, first.state, ""), is_member
    )
    assert (await ask(member, first, STATUS, {}))["voters"] == [first.node.voter]
    with pytest.raises(RemoteError) as caught:
        await ask(stranger, first, STATUS, {})
    assert caught.value.remote_code == "fabric.rejected:forbidden"
    service.close()
    with pytest.raises(RemoteError) as caught:
        await ask(member, first, STATUS, {})
    assert caught.value.remote_code == "fabric.mesh.no_method"
