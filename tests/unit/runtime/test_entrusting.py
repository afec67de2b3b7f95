"""How a node with the fabric's database comes to conduct: what it proves, and what it is not talked into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fabric.core.identity.queries import GetFabric
from fabric.errors import FabricError, Outcome, RemoteError
from fabric.runtime.authority import FOUNDER_ROLES, Authority, create_authority, read_own
from fabric.runtime.entrusting import ENTRUST, PROVE, EntrustedService, Entruster, proof
from fabric.runtime.invitation import Inviter, NotInvitedError
from fabric.runtime.node_identity import Membership
from fabric.store.lone_voter import lone_voter
from fabric.store.voter_engine import VoterEngine
from proto.codec import Plain
from proto.ids import NodeId, RequestId
from tests.fixtures.store_world import ManualClock, fabric_init
from tests.unit.runtime.node_keys_world import CONDUCTOR, FABRIC, KeysWorld, OneWayRpc


@dataclass
class World:
    """The conductor and one member. `rows` is the database as the member reaches it."""

    keys: KeysWorld
    rows: VoterEngine
    accepted: list[tuple[Membership, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rpc = OneWayRpc(CONDUCTOR)
        self.serve()
        inviter = Inviter(self.keys.state, self.keys.authority, self.rpc, self.keys.clock, incarnation=0)
        self.conductor = Entruster(self.keys.state, self.keys.authority, self.rpc, certify=inviter.certify)

    def serve(self) -> None:
        EntrustedService(
            self.rows,
            self.rpc,
            self.keys.identity,
            self.keys.clock,
            member=lambda: self.keys.member,
            may_entrust=lambda node_id: node_id == CONDUCTOR,
            accept=self._accept,
        )

    async def _accept(self, member: Membership, root_key: bytes) -> None:
        self.accepted.append((member, root_key))

    async def is_refused(self, method: str, words: str, **body: Plain) -> None:
        with pytest.raises(RemoteError, match=words) as caught:
            await self.rpc.call(self.keys.node_id, method, body, timeout_ms=1)
        assert caught.value.outcome is Outcome.NOT_DONE
        assert self.accepted == []


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    keys = KeysWorld(tmp_path)
    await keys.open()
    yield World(keys, keys.state)
    await keys.close()


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[VoterEngine]:
    """Another database, empty."""
    rows = lone_voter(tmp_path / "elsewhere", clock=ManualClock())
    await rows.open()
    yield rows
    await rows.close()


async def test_who_reads_the_same_rows_gets_what_a_conductor_needs(world: World) -> None:
    await world.conductor.entrust(world.keys.node_id)
    ((member, root_key),) = world.accepted
    assert set(FOUNDER_ROLES) <= set(read_own(member.certificate).roles)
    assert Authority.of(root_key, FABRIC).root_public == world.keys.authority.root_public
    assert (await world.keys.row()).certificate == member.certificate
    index = world.keys.state.applied_index
    await world.conductor.entrust(world.keys.node_id)
    assert world.keys.state.applied_index == index, "again writes nothing"


@pytest.mark.parametrize("answer", [None, {}, {"proof": 5}, {"proof": b""}, {"proof": bytes(32)}])
async def test_who_cannot_prove_that_it_reads_them_gets_nothing(world: World, answer: Plain) -> None:
    async def pretend(peer: NodeId, body: object) -> Plain:
        return answer

    world.rpc.handlers[PROVE] = pretend
    index = world.keys.state.applied_index
    with pytest.raises(NotInvitedError, match="did not prove"):
        await world.conductor.entrust(world.keys.node_id)
    assert world.accepted == []
    assert world.keys.state.applied_index == index, "it was not certified either"


async def test_a_proof_is_of_one_node_and_one_question(world: World) -> None:
    rows = await world.keys.state.read(GetFabric())
    assert rows is not None
    told = proof(rows, world.keys.node_id, b"n" * 32)
    assert proof(rows, world.keys.node_id, b"m" * 32) != told
    assert proof(rows, NodeId("d" * 32), b"n" * 32) != told


async def test_another_database_proves_nothing(world: World, elsewhere: VoterEngine) -> None:
    world.rows = elsewhere
    world.serve()
    await world.is_refused(PROVE, "another fabric, or none", nonce=bytes(32))
    await elsewhere.propose(fabric_init(), request_id=RequestId("init"))
    with pytest.raises(FabricError):  # its rows lack what the conductor has just written into its own
        await world.conductor.entrust(world.keys.node_id)
    assert world.accepted == []


async def test_a_copy_of_the_database_is_not_taken_for_it(world: World, elsewhere: VoterEngine) -> None:
    """It holds the same secret, and not what is written now."""
    inviter = Inviter(world.keys.state, world.keys.authority, world.rpc, world.keys.clock, incarnation=0)
    signed = await inviter.certify(world.keys.node_id)
    world.rows = elsewhere
    world.serve()
    root_key = world.keys.authority.private_bytes()
    await world.is_refused(ENTRUST, "not the conductor's", certificate=signed, root_key=root_key)


async def test_only_the_conductor_may_ask(world: World) -> None:
    world.rpc.peer = NodeId("d" * 32)
    await world.is_refused(PROVE, "Only the conductor", nonce=bytes(32))
    await world.is_refused(ENTRUST, "Only the conductor", certificate=b"", root_key=b"")


async def test_fields_are_checked(world: World, tmp_path: Path) -> None:
    await world.is_refused(PROVE, "nonce", nonce=b"short")
    await world.is_refused(ENTRUST, "must be bytes", certificate=5, root_key=b"")
    inviter = Inviter(world.keys.state, world.keys.authority, world.rpc, world.keys.clock, incarnation=0)
    signed = await inviter.certify(world.keys.node_id)
    (tmp_path / "foreign").mkdir()
    foreign = create_authority(tmp_path / "foreign", FABRIC).private_bytes()
    await world.is_refused(ENTRUST, "root_key", certificate=signed, root_key=foreign)
    mine = world.keys.authority.private_bytes()
    await world.is_refused(ENTRUST, "conduct", certificate=world.keys.member.certificate, root_key=mine)
