"""Joining by token over real sockets, with the real store behind the door; and every misuse of a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import zmq

from fabric.core.membership.model import NodeRecord
from fabric.core.membership.record import body_of, read_state
from fabric.core.nodes.queries import ListNodes
from fabric.errors import DeadlineExceededError
from fabric.mesh.curve import CurveKeyPair, new_curve_key_pair
from fabric.mesh.zmq_options import set_for_dialler
from fabric.runtime import join
from fabric.runtime.authority import Authority, create_authority, read_certificate
from fabric.runtime.clock import SystemClock
from fabric.runtime.join import Admission, JoinError, create_token, join_with_token
from fabric.runtime.join_door import REQUESTS_PER_S_MAX, DoorServer
from fabric.runtime.node_identity import NodeIdentity, load_or_create
from fabric.store.replicated import ReplicatedState
from proto.ids import FabricId, Incarnation, NodeId, TokenId
from proto.join import (
    REQUEST_BYTES_MAX,
    JoinRefusal,
    JoinReply,
    JoinRequest,
    JoinTokenText,
    decode_reply,
    encode_request,
    parse_token_text,
)
from proto.membership import NodeState

CLOCK = SystemClock()


@dataclass
class House:
    """A founder's side: state, root key, open door."""

    directory: Path
    state: ReplicatedState
    authority: Authority
    door: DoorServer
    address: str
    door_public: bytes
    admitted: list[NodeState]

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

    async def names(self) -> list[str]:
        return sorted(node.name for node in await self.state.read(ListNodes()))


def record_of(identity: NodeIdentity, name: str) -> NodeRecord:
    return NodeRecord(
        node_id=identity.node_id,
        name=name,
        endpoint="tcp://127.0.0.1:7000",
        curve_public=identity.curve_public,
        certificate=b"",
        incarnation=Incarnation(0),
        version=0,
        zone="nova",
        software="t",
    )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    authority = create_authority(tmp_path, FabricId("joined"))
    state = ReplicatedState(tmp_path / "state", clock=CLOCK)
    await state.open()
    keys = new_curve_key_pair()
    admitted: list[NodeState] = []
    admission = Admission(state, authority, CLOCK, lambda: tuple(admitted), admitted.append)
    door = DoorServer(keys, bind="tcp://127.0.0.1:0", admit=admission.admit, clock=CLOCK)
    address = await door.start()
    try:
        yield House(tmp_path, state, authority, door, address, keys.public, admitted)
    finally:
        await door.close()
        await state.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "LINK_TIMEOUT_S", 2.0)
    monkeypatch.setattr(join, "ANSWER_TIMEOUT_S", 3.0)
    monkeypatch.setattr(join, "ASK_AGAIN_S", 0.5)


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
    with pytest.raises(JoinError, match="another fabric"):
        await house.join(replace(token, root_fingerprint=b"f" * 32), "n1")


async def test_a_door_with_another_key_never_sees_the_secret(house: House) -> None:
    token = replace(await house.token(), door_public=new_curve_key_pair().public)
    with pytest.raises(DeadlineExceededError, match=r"no join door answered"):
        await house.join(token, "n1")
    assert house.admitted == []


async def test_the_next_address_is_tried(house: House) -> None:
    token = await house.token()
    dead = replace(token, addresses=("tcp://127.0.0.1:1", *token.addresses))
    assert (await house.join(dead, "n1")).fabric_id == "joined"


async def test_dead_and_false_addresses_cost_next_to_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One refuses, one is another fabric's door: neither is waited for."""
    for name in ("LINK_TIMEOUT_S", "ANSWER_TIMEOUT_S"):
        monkeypatch.setattr(join, name, 60.0)
    other = DoorServer(new_curve_key_pair(), bind="tcp://127.0.0.1:0", admit=_never, clock=CLOCK)
    false = await other.start()
    try:
        token = await house.token()
        several = replace(token, addresses=("tcp://127.0.0.1:1", false, *token.addresses))
        async with asyncio.timeout(10):
            assert (await house.join(several, "n1")).fabric_id == "joined"
        with pytest.raises(DeadlineExceededError, match="is the agent there running"):
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
        node_id=NodeId("a" * 32),
        name="n",
        curve_public=b"c" * 32,
        sign_public=b"s" * 32,
        body=b"b",
        signature=b"g" * 64,
    )
    assert "ssss" not in repr(request)
    assert encode_request(request)
