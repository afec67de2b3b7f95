"""Joining by token over real sockets, with the real store behind the door; and every misuse of a token."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import zmq

from fabric.core.membership.model import Member, MemberState, NodeRecord
from fabric.core.membership.record import body_of, read_state
from fabric.core.nodes.queries import GetNode, ListNodes
from fabric.errors import DeadlineExceededError
from fabric.mesh.curve import CurveKeyPair, new_curve_key_pair
from fabric.mesh.zmq_options import set_for_dialler
from fabric.runtime import door_knock
from fabric.runtime.authority import (
    Authority,
    NodeTrust,
    create_authority,
    read_certificate,
    read_own,
)
from fabric.runtime.clock import SystemClock
from fabric.runtime.founding import NodeFacts
from fabric.runtime.founding import join as found_join
from fabric.runtime.join import Admission, JoinError, create_token, join_with_token
from fabric.runtime.join_door import REQUESTS_PER_S_MAX, DoorServer
from fabric.runtime.node_identity import (
    IdentityError,
    NodeIdentity,
    identity_of,
    load_membership,
    load_or_create,
    new_keys,
    save_membership,
)
from fabric.runtime.peers_file import load_peers
from fabric.runtime.standing import standing
from fabric.store.lone_voter import lone_voter
from fabric.store.voter_engine import VoterEngine
from proto.commands import Command
from proto.commands.nodes import JoinTokenRevoke, NodeRemove, NodeRenew
from proto.ids import Epoch, FabricId, NodeId, RequestId, TokenId, new_uuid
from proto.join import (
    REQUEST_BYTES_MAX,
    JoinRefusal,
    JoinReply,
    JoinRequest,
    JoinTokenText,
    StandingReply,
    StandingRequest,
    decode_reply,
    encode_request,
    parse_token_text,
)
from proto.membership import NodeState, Removal

CLOCK = SystemClock()


@dataclass
class House:
    """A founder's side: state, root key, open door."""

    directory: Path
    state: VoterEngine
    authority: Authority
    door: DoorServer
    address: str
    door_public: bytes
    admitted: list[NodeState]
    removals: list[Removal]
    living: dict[NodeId, Member]  # as the mesh has them

    async def token(self, *, ttl_s: int = 60, uses: int = 1) -> JoinTokenText:
        text = await create_token(
            self.state,
            addresses=(self.address,),
            door_public=self.door_public,
            root_public=self.authority.root_public,
            now_ms=CLOCK.wall_ms(),
            ttl_s=ttl_s,
            uses=uses,
        )
        return parse_token_text(text)

    def newcomer(self, name: str) -> NodeIdentity:
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        return load_or_create(directory)

    async def join(
        self, token: JoinTokenText, name: str, *, identity: NodeIdentity | None = None
    ) -> JoinReply:
        who = identity or self.newcomer(name)
        return await join_with_token(token, who, record_of(who, name), CLOCK)

    async def propose(self, command: Command) -> None:
        await self.state.propose(command, request_id=RequestId(f"req-{new_uuid()}"))

    async def names(self) -> list[str]:
        return sorted(node.name for node in await self.state.read(ListNodes()))


def record_of(identity: NodeIdentity, name: str) -> NodeRecord:
    return NodeRecord(
        node_id=identity.node_id,
        name=name,
        endpoint="tcp://127.0.0.1:7000",
        curve_public=identity.curve_public,
        certificate=b"",
        epoch=Epoch(0),
        boot_id=b"b" * 8,
        version=0,
        zone="nova",
        software="t",
    )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    authority = create_authority(tmp_path, FabricId("joined"))
    state = lone_voter(tmp_path / "state", clock=CLOCK)
    await state.open()
    keys = new_curve_key_pair()
    admitted: list[NodeState] = []
    living: dict[NodeId, Member] = {}

    def admit(state: NodeState) -> None:
        """As the membership table does: of each node the newest. A slow answer is asked for twice."""
        node_id = read_state(state).record.node_id
        others = [known for known in admitted if read_state(known).record.node_id != node_id]
        admitted[:] = [*others, state]

    removals: list[Removal] = []
    trust = NodeTrust(
        load_or_create(tmp_path),
        root_public=authority.root_public,
        fabric_id=authority.fabric_id,
        now_ms=CLOCK.wall_ms,
    )
    admission = Admission(
        state,
        authority,
        trust,
        CLOCK,
        known=lambda: tuple(admitted),
        removals=lambda: tuple(removals),
        member=living.get,
        admitted=admit,
    )
    door = DoorServer(
        keys,
        bind="tcp://127.0.0.1:0",
        admit=admission.admit,
        clock=CLOCK,
        stand=lambda request, curve_public: standing(state, request, curve_public),
    )
    address = await door.start()
    try:
        yield House(tmp_path, state, authority, door, address, keys.public, admitted, removals, living)
    finally:
        await door.close()
        await state.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_knock, "LINK_TIMEOUT_S", 2.0)
    monkeypatch.setattr(door_knock, "ANSWER_TIMEOUT_S", 3.0)
    monkeypatch.setattr(door_knock, "ASK_AGAIN_S", 0.5)


async def test_a_token_admits_and_tells_of_the_others(house: House) -> None:
    first = await house.join(await house.token(), "n1")
    reply = await house.join(await house.token(), "n2")
    certificate = read_certificate(
        reply.certificate,
        root_public=house.authority.root_public,
        fabric_id=FabricId("joined"),
        now_ms=CLOCK.wall_ms(),
    )
    assert certificate.node_id == house.newcomer("n2").node_id
    assert [read_state(state).record.name for state in reply.states] == ["n1"]
    assert first.states == ()
    assert await house.names() == ["n1", "n2"]
    assert [read_state(state).record.name for state in house.admitted] == ["n1", "n2"]


async def test_a_one_time_token_works_once(house: House) -> None:
    token = await house.token()
    await house.join(token, "n1")
    with pytest.raises(JoinError, match="used"):
        await house.join(token, "n2")
    assert await house.names() == ["n1"]


async def test_asking_again_for_the_same_node_is_safe_and_takes_no_use(house: House) -> None:
    token = await house.token(uses=2)
    first = await house.join(token, "n1")
    again = await house.join(token, "n1")  # the first answer may have been lost
    assert again.fabric_id == first.fabric_id
    await house.join(token, "n2")
    await house.join(token, "n1")  # used up by now, and still safe for who is in
    assert await house.names() == ["n1", "n2"]


async def test_two_at_once_with_a_one_time_token_admit_one(house: House) -> None:
    token = await house.token()
    results = await asyncio.gather(*(house.join(token, f"n{n}") for n in range(4)), return_exceptions=True)
    assert sum(isinstance(r, JoinReply) for r in results) == 1
    assert sum(isinstance(r, JoinError) for r in results) == 3
    assert len(await house.names()) == 1


async def test_name_of_another_node_is_refused(house: House) -> None:
    token = await house.token(uses=5)
    await house.join(token, "n1")
    with pytest.raises(JoinError):
        await house.join(token, "n1", identity=house.newcomer("thief"))
    assert await house.names() == ["n1"]


async def test_wrong_secret_unknown_token_and_expiry(house: House) -> None:
    token = await house.token()
    with pytest.raises(JoinError, match="not valid"):
        await house.join(replace(token, secret=b"x" * 32), "n1")
    with pytest.raises(JoinError, match="not valid"):
        await house.join(replace(token, token_id=TokenId("never-made")), "n1")
    with pytest.raises(JoinError, match="expired"):
        await house.join(replace(token, expires_ms=1), "n1")
    short = await house.token(ttl_s=0)
    with pytest.raises(JoinError, match="expired"):  # the door looks at its own copy of the expiry
        await house.join(replace(short, expires_ms=CLOCK.wall_ms() + 60_000), "n1")
    assert await house.names() == []


async def test_a_door_of_another_fabric_is_not_believed(house: House) -> None:
    token = await house.token()
    with pytest.raises(JoinError, match=r"another fabric.*nothing was done"):
        await house.join(replace(token, root_fingerprint=b"f" * 32), "n1")
    assert await house.names() == []
    await house.join(token, "n2")  # its one use was not spent


async def test_a_door_with_another_key_never_sees_the_secret(house: House) -> None:
    token = replace(await house.token(), door_public=new_curve_key_pair().public)
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(str(told)))
    with pytest.raises(JoinError, match=r"has another key than this token names .*; nothing was done"):
        await house.join(token, "n1")
    gc.collect()  # a promise broken and never looked at complains when it goes
    assert complaints == []
    assert house.admitted == []


async def test_where_nobody_listens_nothing_was_done(house: House) -> None:
    with pytest.raises(JoinError, match=r"is the agent there running.*Nothing was done"):
        await house.join(replace(await house.token(), addresses=("tcp://127.0.0.1:1",)), "n1")


async def test_the_next_address_is_tried(house: House) -> None:
    token = await house.token()
    dead = replace(token, addresses=("tcp://127.0.0.1:1", *token.addresses))
    assert (await house.join(dead, "n1")).fabric_id == "joined"


async def test_dead_and_false_addresses_cost_next_to_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One refuses, one is another fabric's door: neither is waited for."""
    for name in ("LINK_TIMEOUT_S", "ANSWER_TIMEOUT_S"):
        monkeypatch.setattr(door_knock, name, 60.0)
    other = DoorServer(new_curve_key_pair(), bind="tcp://127.0.0.1:0", admit=_never, clock=CLOCK)
    false = await other.start()
    try:
        token = await house.token()
        several = replace(token, addresses=("tcp://127.0.0.1:1", false, *token.addresses))
        async with asyncio.timeout(10):
            assert (await house.join(several, "n1")).fabric_id == "joined"
        with pytest.raises(JoinError, match=f"the door at {false} has another key"):
            async with asyncio.timeout(10):
                await house.join(replace(token, addresses=("tcp://127.0.0.1:1", false)), "n2")
    finally:
        await other.close()


async def _never(request: JoinRequest) -> JoinReply:
    raise AssertionError("a door with another key is told nothing")


async def test_closing_the_door_ends_what_is_under_way(house: House) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(request: JoinRequest) -> JoinReply:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("never")

    keys = new_curve_key_pair()
    door = DoorServer(keys, bind="tcp://127.0.0.1:0", admit=slow, clock=CLOCK)
    token = replace(await house.token(), addresses=(await door.start(),), door_public=keys.public)
    joining = asyncio.create_task(house.join(token, "n1"))
    await asyncio.wait_for(begun.wait(), 10)
    await door.close()
    assert ended.is_set()
    with pytest.raises(DeadlineExceededError, match="again with the same token is safe"):
        await joining


async def test_a_machine_whose_clock_is_ahead_can_join(house: House) -> None:
    class Ahead(SystemClock):
        def wall_ms(self) -> int:
            return super().wall_ms() + 6 * 3_600_000

    who = house.newcomer("n1")
    reply = await join_with_token(await house.token(ttl_s=60), who, record_of(who, "n1"), Ahead())
    assert reply.fabric_id == "joined"


async def test_nobody_joins_with_anothers_key(house: House) -> None:
    """Possession of the CURVE key is proven by the link, so a copied public key is worth nothing."""
    token, victim, thief = await house.token(), house.newcomer("victim"), house.newcomer("thief")
    copied = replace(victim, curve_secret=thief.curve_secret)
    with pytest.raises((JoinError, DeadlineExceededError)):
        await house.join(token, "victim", identity=copied)
    assert await house.names() == []


async def test_nobody_gets_a_certificate_for_a_key_he_does_not_hold(house: House) -> None:
    """The thief has a good token and signs correctly, but his link proves another key than he asks for."""
    token, victim, thief = await house.token(), house.newcomer("victim"), house.newcomer("thief")
    body = body_of(record_of(victim, "victim"))
    request = JoinRequest(
        token_id=token.token_id,
        secret=token.secret,
        root_fingerprint=token.root_fingerprint,
        node_id=victim.node_id,
        name="victim",
        curve_public=victim.curve_public,
        sign_public=thief.sign_public,
        body=body,
        signature=thief.sign(body),
    )
    knocker = Knocker(house, CurveKeyPair(thief.curve_public, thief.curve_secret))
    try:
        knocker.socket.send(encode_request(request))
        assert await asyncio.to_thread(knocker.socket.poll, 5_000)
        reply = decode_reply(knocker.socket.recv())
    finally:
        await knocker.close()
    assert isinstance(reply, JoinRefusal)
    assert "key of this connection" in reply.message
    assert await house.names() == []


async def test_a_captured_request_is_worth_nothing_over_another_link(house: House) -> None:
    """The thief has the very bytes a node sent, the secret too, and the token has a use left."""
    token, victim, thief = await house.token(uses=2), house.newcomer("n1"), house.newcomer("thief")
    record = record_of(victim, "n1")
    captured = JoinRequest(
        token_id=token.token_id,
        secret=token.secret,
        root_fingerprint=token.root_fingerprint,
        node_id=victim.node_id,
        name="n1",
        curve_public=victim.curve_public,
        sign_public=victim.sign_public,
        body=body_of(record),
        signature=victim.sign(body_of(record)),
    )
    knocker = Knocker(house, CurveKeyPair(thief.curve_public, thief.curve_secret))
    try:
        knocker.socket.send(encode_request(captured))
        assert await asyncio.to_thread(knocker.socket.poll, 5_000)
        reply = decode_reply(knocker.socket.recv())
    finally:
        await knocker.close()
    assert isinstance(reply, JoinRefusal)
    assert "key of this connection" in reply.message
    assert await house.names() == []


async def test_a_revoked_token_admits_nobody(house: House) -> None:
    token = await house.token(uses=5)
    await house.propose(JoinTokenRevoke(token_id=token.token_id))
    with pytest.raises(JoinError, match="not valid"):
        await house.join(token, "n1")


async def test_a_removed_node_must_come_back_as_another(house: House) -> None:
    token = await house.token(uses=5)
    await house.join(token, "n1")
    node = house.newcomer("n1")
    removal = house.authority.remove(node.node_id, now_ms=CLOCK.wall_ms())
    house.removals.append(removal)
    await house.propose(
        NodeRemove(node_id=node.node_id, removal_body=removal.body, removal_signature=removal.signature)
    )
    with pytest.raises(JoinError, match="makes new keys"):
        await house.join(token, "n1")
    reply = await house.join(token, "n1", identity=house.newcomer("n1-reborn"))
    assert reply.removals == (removal,)  # and it, too, refuses its old self
    assert await house.names() == ["n1"]


async def test_the_door_tells_a_removed_node_so_and_nobody_else(house: House) -> None:
    """It was removed while it was stopped: no member speaks to it, and the door takes any key."""
    token = await house.token(uses=5)
    await house.join(token, "n1")
    node, other = house.newcomer("n1"), house.newcomer("n2")
    question = encode_request(StandingRequest(node_id=node.node_id))

    async def asked_by(who: NodeIdentity) -> JoinReply | StandingReply | JoinRefusal:
        keys = CurveKeyPair(who.curve_public, who.curve_secret)
        answer = await door_knock.knock(house.address, keys, house.door_public, question)
        assert isinstance(answer, bytes)
        return decode_reply(answer)

    assert await asked_by(node) == StandingReply(is_member=True)
    assert await asked_by(other) == StandingReply(is_member=False)
    removal = house.authority.remove(node.node_id, now_ms=CLOCK.wall_ms())
    await house.propose(
        NodeRemove(node_id=node.node_id, removal_body=removal.body, removal_signature=removal.signature)
    )
    assert await asked_by(node) == StandingReply(is_member=False, removals=(removal,))
    assert await asked_by(other) == StandingReply(is_member=False)


async def test_a_member_joins_again_and_its_earlier_certificate_is_spent(house: House) -> None:
    token = await house.token(uses=1)
    first = read_own((await house.join(token, "n1")).certificate)
    again = read_own((await house.join(token, "n1")).certificate)
    assert (again.node_id, again.generation) == (first.node_id, first.generation + 1)


async def test_a_copied_identity_is_refused_while_the_node_lives_elsewhere(house: House) -> None:
    (house.directory / "h2").mkdir()
    identity = load_or_create(house.directory / "h2")
    record = record_of(identity, "h2")
    await join_with_token(await house.token(), identity, record, CLOCK)
    elsewhere = replace(record, epoch=Epoch(3), endpoint="tcp://elsewhere:7400")

    def lives(state: MemberState, record: NodeRecord) -> None:
        now_ms = CLOCK.monotonic_ms()
        house.living[identity.node_id] = Member(
            record=record, state=state, heard_ms=now_ms, changed_ms=now_ms
        )

    lives(MemberState.ALIVE, elsewhere)
    before = house.state.applied_index
    token = await house.token()
    with pytest.raises(JoinError, match=r"h2 lives at tcp://elsewhere:7400 with the very keys") as caught:
        await join_with_token(token, identity, record, CLOCK)
    assert "remove the state directory here" in str(caught.value)
    assert house.state.applied_index == before + 1  # the token, and no more
    for state, known in ((MemberState.HOST_DOWN, elsewhere), (MemberState.ALIVE, record)):
        lives(state, known)
        await join_with_token(token, identity, record, CLOCK)  # it moved, or asks from where it lives


async def test_rotated_keys_join_again_under_the_id_they_have(house: House) -> None:
    """The id is not the hash of this key any more; the log says whose it is. Nobody else's is taken so."""
    token = await house.token(uses=5)
    await house.join(token, "n1")
    node = house.newcomer("n1")
    fresh = identity_of(new_keys(node.node_id))
    with pytest.raises(JoinError, match="hash of curve_public"):  # not in force: anybody may claim an id
        await house.join(token, "n1", identity=fresh)
    certificate = house.authority.issue(
        curve_public=fresh.curve_public,
        sign_public=fresh.sign_public,
        name="n1",
        now_ms=CLOCK.wall_ms(),
        node_id=node.node_id,
        generation=2,
    )
    renewed = NodeRenew(
        node_id=node.node_id, curve_public=fresh.curve_public, certificate=certificate, generation=2
    )
    await house.propose(renewed)
    assert read_own((await house.join(token, "n1", identity=fresh)).certificate).generation == 3
    with pytest.raises(JoinError, match="another key"):  # the old key is nobody's way back
        await house.join(token, "n1")


async def test_an_expired_node_joins_again_over_its_files_and_stays_who_it_is(house: House) -> None:
    directory = house.directory / "host"
    directory.mkdir()
    facts = NodeFacts(name="n1", endpoint="tcp://127.0.0.1:7000", zone="nova", software="t", rack="r1")
    before = await found_join(directory, facts, await house.token(), CLOCK)
    first = load_membership(directory)
    assert first is not None
    with pytest.raises(IdentityError, match=r"has joined fabric .* already"):
        await found_join(directory, facts, await house.token(), CLOCK)
    expired = house.authority.issue(
        curve_public=before.curve_public, sign_public=before.sign_public, name="n1", now_ms=0
    )
    save_membership(directory, replace(first, certificate=expired))
    other = replace(await house.token(), root_fingerprint=b"f" * 32)
    with pytest.raises(IdentityError, match=r"has joined fabric .* already"):
        await found_join(directory, facts, other, CLOCK)
    again = await found_join(directory, facts, await house.token(), CLOCK)
    second = load_membership(directory)
    assert second is not None
    assert again.node_id == before.node_id
    assert read_own(second.certificate).generation == read_own(first.certificate).generation + 1
    row = await house.state.read(GetNode(node_id=before.node_id))
    assert row is not None
    assert row.certificate == second.certificate
    assert load_peers(directory) == ((), ())


async def test_a_rack_of_machines_joins_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred knocks in one moment: none is dropped, so nobody waits to ask again."""
    for name in ("LINK_TIMEOUT_S", "ANSWER_TIMEOUT_S", "ASK_AGAIN_S"):
        monkeypatch.setattr(door_knock, name, 60.0)
    token = await house.token(uses=100)
    async with asyncio.timeout(50):  # below one ASK_AGAIN_S
        replies = await asyncio.gather(*(house.join(token, f"n{number}") for number in range(100)))
    assert len(replies) == len(set(await house.names())) == 100
    with pytest.raises(JoinError, match="used"):
        await house.join(token, "n100")


async def test_a_record_not_signed_by_its_key_is_refused(house: House) -> None:
    token, node, other = await house.token(), house.newcomer("n1"), house.newcomer("n2")
    with pytest.raises(JoinError, match="bad_signature"):
        await house.join(token, "n1", identity=replace(node, sign_public=other.sign_public))
    assert await house.names() == []


class Knocker:
    def __init__(self, house: House, keys: CurveKeyPair) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        set_for_dialler(self.socket, keys, house.door_public)
        self.socket.setsockopt(zmq.IMMEDIATE, 0)
        self.socket.setsockopt(zmq.SNDHWM, 10_000)
        self.socket.connect(house.address)

    async def close(self) -> None:
        self.socket.close()
        await asyncio.to_thread(self._context.term)


async def test_door_survives_garbage_floods_and_oversize(house: House) -> None:
    knocker, big = Knocker(house, new_curve_key_pair()), Knocker(house, new_curve_key_pair())
    try:
        for number in range(REQUESTS_PER_S_MAX * 4):
            knocker.socket.send(b"\xc1garbage %d" % number)
        big.socket.send(bytes(REQUEST_BYTES_MAX * 2))
        token = await house.token()

        async def join_through_it() -> JoinReply:
            while True:
                try:
                    return await house.join(token, "n1")
                except DeadlineExceededError:  # dropped by the rate limit: the token stays good
                    continue

        assert (await asyncio.wait_for(join_through_it(), 30)).fabric_id == "joined"
    finally:
        await knocker.close()
        await big.close()


async def test_the_request_shows_no_secret() -> None:
    request = JoinRequest(
        token_id=TokenId("t"),
        secret=b"s" * 32,
        root_fingerprint=b"f" * 32,
        node_id=NodeId("a" * 32),
        name="n",
        curve_public=b"c" * 32,
        sign_public=b"s" * 32,
        body=b"b",
        signature=b"g" * 64,
    )
    assert "ssss" not in repr(request)
    assert encode_request(request)
