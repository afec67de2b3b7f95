"""What an operator does to nodes on the conductor, and what a conductor that starts tells the mesh again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fabric.core.membership.model import Member, MemberState, NodeRecord
from fabric.core.membership.record import sign_record
from fabric.core.nodes.queries import GetNode, ListHosts
from fabric.errors import CommandRejectedError, DeadlineExceededError
from fabric.runtime.authority import Authority, NodeTrust, create_authority
from fabric.runtime.node_admin import NodeAdmin, NodeRefusedError
from fabric.runtime.node_identity import NodeIdentity, identity_of, load_or_create, new_keys
from fabric.runtime.readmission import readmit
from fabric.store.lone_voter import lone_voter
from proto.codec import Plain
from proto.commands.nodes import JoinTokenCreate, NodeAdmit, NodeRenew
from proto.ids import Epoch, FabricId, NodeId, TokenId
from proto.membership import NodeState, Removal
from proto.records import from_wire
from tests.fixtures.store_world import HOST_B, NODE, ManualClock, StoreWorld, node_admit
from tests.unit.runtime.node_keys_world import OneNodeFleet, OneWayRpc

FABRIC = FabricId("fabric-1")
TOKEN = TokenId("t")


class ToldFleet(OneNodeFleet):
    """Remembers whom it was told to let in and to cut off."""

    def __init__(self, *records: NodeRecord) -> None:
        super().__init__(*records)
        self.states: dict[NodeId, MemberState] = {}
        self.admitted: list[NodeState] = []
        self.removed: list[Removal] = []

    def member(self, node_id: NodeId) -> Member | None:
        member = super().member(node_id)
        return None if member is None else replace(member, state=self.states.get(node_id, member.state))

    def admit(self, state: NodeState) -> None:
        self.admitted.append(state)

    def remove(self, removal: Removal) -> None:
        self.removed.append(removal)


class Office:
    def __init__(self, tmp_path: Path, store: StoreWorld) -> None:
        self.store = store
        self.authority: Authority = create_authority(tmp_path, FABRIC)
        self.identity: NodeIdentity = load_or_create(tmp_path)
        self.trust = NodeTrust(
            self.identity,
            root_public=self.authority.root_public,
            fabric_id=FABRIC,
            now_ms=store.clock.wall_ms,
        )
        self.fleet = ToldFleet(self.record(NODE, "node-aaaa"), self.record(HOST_B, "node-bbbb"))
        self.rpc = OneWayRpc(NODE)  # what the removed node is told
        self.rpc.serve("node.removed", self._farewell)
        self.farewells: list[Removal] = []
        self.admin = NodeAdmin(store.engine, self.authority, self.fleet, self.rpc, store.clock)

    async def _farewell(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        assert self.fleet.removed == []  # before it is cut off
        self.farewells.append(from_wire(Removal, dict(body)))
        return {}

    def record(self, node_id: NodeId, name: str, certificate: bytes = b"c") -> NodeRecord:
        return NodeRecord(
            node_id=node_id,
            name=name,
            endpoint="tcp://127.0.0.1:7400",
            curve_public=b"k" * 32,
            certificate=certificate,
            epoch=Epoch(3),
            version=5,
            zone="nova",
            software="t",
            boot_id=b"b" * 8,
        )


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    clock = ManualClock()
    engine = lone_voter(tmp_path / "state", clock=clock)
    await engine.open()
    store = StoreWorld(engine, clock)
    await store.init()
    invitation = JoinTokenCreate(token_id=TOKEN, secret_hash=b"h", expires_ms=clock.now_ms + 9, uses=9)
    await store.do(invitation)
    await store.do(node_admit(HOST_B, token_id=TOKEN))
    yield Office(tmp_path, store)
    await engine.close()


async def test_a_node_is_found_by_name_id_or_beginning(office: Office) -> None:
    await office.store.do(node_admit("bbcc" + "0" * 28, token_id=TOKEN))
    for text in ("node-bbbb", HOST_B, HOST_B[:5]):
        assert (await office.admin.find(text)).node_id == HOST_B
    with pytest.raises(NodeRefusedError, match="no node 'bbb'"):  # too short to be meant
        await office.admin.find("bbb")
    with pytest.raises(NodeRefusedError, match="no node 'nobody'"):
        await office.admin.find("nobody")
    await office.store.do(node_admit("bbcc" + "1" * 28, token_id=TOKEN, name="twin"))
    with pytest.raises(NodeRefusedError, match=r"several nodes: .*twin"):
        await office.admin.find("bbcc")


async def test_a_living_node_is_removed_by_force_only(office: Office) -> None:
    for state in (MemberState.ALIVE, MemberState.SUSPECT, MemberState.STALLED):
        office.fleet.states[HOST_B] = state
        with pytest.raises(NodeRefusedError, match=f"is {state.value}; stop its agent first"):
            await office.admin.remove("node-bbbb", force=False)
    assert office.fleet.removed == []
    await office.admin.remove("node-bbbb", force=True)
    assert [office.trust.removed(removal) for removal in office.fleet.removed] == [HOST_B]
    assert office.farewells == office.fleet.removed
    assert await office.store.ask(GetNode(node_id=HOST_B)) is None


@pytest.mark.parametrize("state", [MemberState.LEFT, MemberState.HOST_DOWN, MemberState.LEAVING])
async def test_one_that_is_gone_needs_no_force(office: Office, state: MemberState) -> None:
    office.fleet.states[HOST_B] = state
    await office.admin.remove(HOST_B, force=False)
    assert len(office.fleet.removed) == 1
    assert office.farewells == []


async def test_one_that_does_not_listen_is_removed_all_the_same(office: Office) -> None:
    def deaf(method: str) -> None:
        raise DeadlineExceededError("no answer")

    office.rpc.before = deaf
    await office.admin.remove("node-bbbb", force=True)
    assert len(office.fleet.removed) == 1


async def test_a_node_with_servers_and_the_conductor_itself_stay(office: Office) -> None:
    await office.store.active("web", HOST_B)
    with pytest.raises(CommandRejectedError, match="still has servers"):
        await office.admin.remove("node-bbbb", force=True)
    with pytest.raises(NodeRefusedError, match="cannot remove itself"):
        await office.admin.remove("node-aaaa", force=True)
    assert office.fleet.removed == []


async def test_draining_says_why_and_ends(office: Office) -> None:
    async def host() -> tuple[bool, str | None]:
        (usage,) = await office.store.ask(ListHosts(host_id=HOST_B))
        return usage.host.enabled, usage.host.disabled_reason

    await office.admin.drain("node-bbbb", "new disk")
    assert await host() == (False, "new disk")
    _, was_draining = await office.admin.undrain("node-bbbb")
    assert was_draining
    assert await host() == (True, None)


async def test_one_that_was_not_draining_is_left_as_it_is(office: Office) -> None:
    before = office.store.engine.applied_index
    node, was_draining = await office.admin.undrain("node-bbbb")
    assert (node.node_id, was_draining) == (HOST_B, False)
    assert office.store.engine.applied_index == before


async def test_invitations(office: Office) -> None:
    assert [token.token_id for token in await office.admin.tokens()] == [TOKEN]
    await office.admin.revoke_token(TOKEN)
    assert await office.admin.tokens() == ()
    with pytest.raises(NodeRefusedError, match="revoked already"):
        await office.admin.revoke_token(TOKEN)


async def test_an_invitation_is_revoked_by_the_beginning_of_its_id(office: Office) -> None:
    for name in ("abcd-1", "abcd-2"):
        token_id, now_ms = TokenId(name), office.store.clock.now_ms
        await office.store.do(
            JoinTokenCreate(token_id=token_id, secret_hash=b"h", expires_ms=now_ms + 9, uses=1)
        )
    with pytest.raises(NodeRefusedError, match="several join tokens: abcd-1, abcd-2"):
        await office.admin.revoke_token("abcd")
    for none in ("", "abc", "abcd-3"):  # too short to be meant, or not there
        with pytest.raises(NodeRefusedError, match="no join token"):
            await office.admin.revoke_token(none)
    await office.admin.revoke_token("abcd-2")
    await office.admin.revoke_token("abcd")
    assert [token.token_id for token in await office.admin.tokens()] == [TOKEN]


# A conductor that starts.


def made(
    office: Office, keys: NodeIdentity, *, generation: int, epoch: int
) -> tuple[NodeIdentity, NodeState]:
    certificate = office.authority.issue(
        curve_public=keys.curve_public,
        sign_public=keys.sign_public,
        name="h9",
        now_ms=office.store.clock.now_ms,
        node_id=keys.node_id,
        generation=generation,
    )
    record = replace(
        office.record(keys.node_id, "h9", certificate), curve_public=keys.curve_public, epoch=Epoch(epoch)
    )
    return keys, sign_record(record, keys.sign).state


async def admit(office: Office, keys: NodeIdentity, state: NodeState) -> None:
    await office.store.do(
        NodeAdmit(
            node_id=keys.node_id,
            name="h9",
            curve_public=keys.curve_public,
            certificate=state.certificate,
            token_id=TOKEN,
            body=state.body,
            signature=state.signature,
        )
    )


async def test_admitted_nodes_the_mesh_forgot_are_told_again(office: Office) -> None:
    keys, state = made(office, identity_of(new_keys()), generation=1, epoch=0)
    await admit(office, keys, state)
    await readmit(office.store.engine, office.fleet, office.trust)
    assert office.fleet.admitted == [state]  # and not those the fleet knows, nor the conductor itself


async def test_a_node_the_mesh_knows_is_left_to_speak_for_itself(office: Office) -> None:
    """A renewal is its owner's to tell; the row's first word is older than what the mesh has."""
    keys, first = made(office, identity_of(new_keys()), generation=1, epoch=0)
    await admit(office, keys, first)
    _, renewed = made(office, keys, generation=2, epoch=0)
    await office.store.do(
        NodeRenew(
            node_id=keys.node_id,
            curve_public=keys.curve_public,
            certificate=renewed.certificate,
            generation=2,
        )
    )
    known = replace(office.record(keys.node_id, "h9", first.certificate), epoch=Epoch(7))
    office.fleet.records[keys.node_id] = known
    await readmit(office.store.engine, office.fleet, office.trust)
    assert office.fleet.admitted == []


async def test_rotated_keys_nobody_told_of_are_told(office: Office) -> None:
    keys, first = made(office, identity_of(new_keys()), generation=1, epoch=0)
    await admit(office, keys, first)
    known = replace(office.record(keys.node_id, "h9", first.certificate), epoch=Epoch(7))
    office.fleet.records[keys.node_id] = known
    fresh, rotated = made(office, identity_of(new_keys(keys.node_id)), generation=2, epoch=8)
    await office.store.do(
        NodeRenew(
            node_id=keys.node_id,
            curve_public=fresh.curve_public,
            certificate=rotated.certificate,
            generation=2,
            body=rotated.body,
            signature=rotated.signature,
        )
    )
    await readmit(office.store.engine, office.fleet, office.trust)
    assert office.fleet.admitted == [rotated]


async def test_removals_are_told_again_and_rows_that_cannot_be_read_are_passed_over(office: Office) -> None:
    office.fleet.states[HOST_B] = MemberState.LEFT
    await office.admin.remove("node-bbbb", force=False)
    (removal,) = office.fleet.removed
    odd = node_admit("c" * 32, token_id=TOKEN, body=b"not a record", signature=b"short")
    await office.store.do(odd)
    await readmit(office.store.engine, office.fleet, office.trust)
    assert office.fleet.removed == [removal, removal]
    assert office.fleet.admitted == []
