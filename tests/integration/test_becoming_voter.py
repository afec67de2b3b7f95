"""A node becomes a voter while it runs: whatever is in the way, it is whole afterwards, or as before."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace

import pytest

from fabric import agent_api, agent_voter
from fabric import config as configuration
from fabric.agent import Agent
from fabric.agent_voter import VoterSide
from fabric.agent_voter_slot import VoterSlot
from fabric.core.membership.model import RoleClaim
from fabric.runtime.authority import FOUNDER_ROLES, load_authority
from fabric.runtime.clock import SystemClock
from fabric.runtime.invitation import NotInvitedError
from fabric.runtime.node_identity import Membership
from fabric.store.incarnation import FIRST_INCARNATION
from proto.ids import VoterId, node_of
from tests.fixtures.mesh_nodes import until
from tests.integration.test_agent import Machine, Yard, yard

__all__ = ["yard"]  # a fixture, used by its name

PATIENCE_S = 90.0  # the autopilot waits until a node has lived for a while


async def joined(yard: Yard, founder: Machine, *, eligible: bool) -> Machine:
    made = yard.machine("h2")
    made.config = replace(made.config, voters=configuration.VotersSection(eligible=eligible, in_process=True))
    made.path.write_text(configuration.render(made.config))
    done = await made.cli("join", "-", stdin=await founder.token())
    assert done.exit_code == 0, (done.output, done.exception)
    return made


def invitation(founder: Machine, agent: Agent) -> tuple[Membership, bytes]:
    """What the founder would send, had its autopilot chosen that node."""
    member, identity = agent._who.member, agent._who.identity
    authority = load_authority(founder.state_dir, member.fabric_id)
    assert authority is not None
    certificate = authority.issue(
        curve_public=identity.curve_public,
        sign_public=identity.sign_public,
        name="h2",
        now_ms=SystemClock().wall_ms(),
        roles=FOUNDER_ROLES,
        node_id=identity.node_id,
        generation=2,
    )
    return replace(member, certificate=certificate), authority.private_bytes()


def slot_of(agent: Agent) -> VoterSlot:
    assert agent._control is not None
    assert agent._control._slot is not None
    return agent._control._slot


async def invite(founder: Machine, agent: Agent) -> VoterId:
    member, root_key = invitation(founder, agent)
    return await slot_of(agent).become(member, root_key, FIRST_INCARNATION)


@pytest.fixture
async def chosen(yard: Yard) -> tuple[Machine, Agent]:
    """A founder, and a node that nobody but the test chooses."""
    founder = await yard.founder()
    return founder, await (await joined(yard, founder, eligible=False)).start()


async def test_taken_ports_do_not_end_a_node_that_becomes_a_voter_by_itself(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_api, "API_RETRY_S", 0.2)
    monkeypatch.setattr(agent_voter, "DOOR_RETRY_S", 0.2)
    founder = await yard.founder()
    machine = await joined(yard, founder, eligible=True)
    with contextlib.ExitStack() as ports:
        for port in (machine.config.api.port, machine.config.mesh.door_port):
            taken = ports.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
        agent = await machine.start()
        await until(lambda: agent.voter is not None and agent.voter.is_serving, PATIENCE_S)
        (told,) = [event for event in agent._events.recent() if event.event == "api.not_served"]
        assert told.node == "h2"
        assert "api.port" in told.fields["reason"]
        assert agent.voter is not None
        assert agent.voter.door_endpoint == ""
        await machine.stop()
        agent = await machine.start()  # nor at its next start
        await until(lambda: agent.voter is not None and agent.voter.is_serving, PATIENCE_S)
        assert machine.running is not None
        assert not machine.running.done()

    def is_listening(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    await until(lambda: is_listening(machine.config.api.port), PATIENCE_S)
    assert agent.voter is not None
    await until(lambda: agent.voter is not None and agent.voter.door_endpoint != "", PATIENCE_S)
    await until(lambda: any(claim.role == "api" for claim in _own_roles(agent)), PATIENCE_S)
    assert machine.running is not None
    assert not machine.running.done()


def _own_roles(agent: Agent) -> tuple[RoleClaim, ...]:
    member = agent._fleet.member(agent._fleet.me)
    return () if member is None else member.record.roles


async def test_invited_twice_at_once_one_voter_opens(chosen: tuple[Machine, Agent]) -> None:
    founder, agent = chosen
    voters = await asyncio.gather(*(invite(founder, agent) for _ in range(3)))
    assert len(set(voters)) == 1
    assert node_of(voters[0]) == agent._fleet.me
    assert (await invite(founder, agent)) == voters[0]


async def test_a_voter_opens_though_who_invited_it_gave_up(chosen: tuple[Machine, Agent]) -> None:
    founder, agent = chosen
    asking = asyncio.create_task(invite(founder, agent))
    await until(lambda: bool(slot_of(agent)._openings))
    asking.cancel()
    await until(lambda: agent.voter is not None)
    assert agent.voter is not None
    assert await invite(founder, agent) == agent.voter.voter_id


async def test_an_opening_that_failed_is_simply_tried_again(
    chosen: tuple[Machine, Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    founder, agent = chosen

    async def fail(self: VoterSide) -> bool:
        raise OSError("just now")

    with monkeypatch.context() as patch:
        patch.setattr(VoterSide, "_is_filled", fail)  # its log and its place on the mesh are open by then
        with pytest.raises(OSError, match="just now"):
            await invite(founder, agent)
    assert agent.voter is None
    voter = await invite(founder, agent)
    assert agent.voter is not None
    assert agent.voter.voter_id == voter


async def test_a_node_that_stops_becomes_no_voter_and_is_none_no_more(yard: Yard) -> None:
    founder = await yard.founder()
    machine = await joined(yard, founder, eligible=False)
    agent = await machine.start()
    voter = await invite(founder, agent)
    agent._stop.set()
    with pytest.raises(NotInvitedError, match="stopping"):
        await slot_of(agent).end(voter)
    assert not agent.begins_anew
    await machine.stop()
    agent = await machine.start()
    agent._stop.set()
    with pytest.raises(NotInvitedError, match="stopping"):
        await invite(founder, agent)


async def test_a_dismissed_node_begins_anew_as_a_host(yard: Yard, chosen: tuple[Machine, Agent]) -> None:
    founder, agent = chosen
    voter = await invite(founder, agent)
    await slot_of(agent).end(VoterId(f"{node_of(voter)}.another"))
    assert not agent.begins_anew
    await slot_of(agent).end(voter)
    await slot_of(agent).end(voter)  # the answer was lost
    assert agent.begins_anew
    assert not (agent._directory / "root.key").exists()
    assert (agent._directory / "state" / "voter.id.former").exists()
    agent._supervisor.fail("its rows cannot be opened any more")  # as whoever reads just then
    running = yard.machines[-1].running
    assert running is not None
    await asyncio.wait_for(running, PATIENCE_S)
    assert (await yard.machines[-1].start()).voter is None
    assert not (agent._directory / "state").exists()
