"""Real sockets: strangers, oversized frames, replays of restarts, and the numbers CURVE promises."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import zmq

from fabric.core.membership.model import MemberState
from fabric.mesh.contract import LinkFact, PeerAddress
from fabric.mesh.curve import CurveKeyPair, curve_public_of, new_curve_key_pair
from fabric.mesh.errors import TransportError
from fabric.mesh.router_dealer import RouterDealer
from fabric.mesh.rpc import MeshRpc
from fabric.mesh.switchboard import Switchboard
from fabric.mesh.zmq_options import set_for_dialler
from fabric.runtime.authority import create_authority
from proto.codec import FRAME_BYTES_MAX
from proto.ids import FabricId, NodeId
from tests.fixtures.fabric_nodes import start_node
from tests.fixtures.mesh_nodes import Ear, until, zmq_transports


async def ear() -> Ear:
    made = Ear(*zmq_transports()())
    await made.start()
    return made


async def pair() -> tuple[Ear, Ear]:
    a, b = await ear(), await ear()
    a.meet(b)
    b.meet(a)
    await until(lambda: a.is_up(b) and b.is_up(a))
    return a, b


class RawDialler:
    """A client without our manners: any key, any size, any number of frames."""

    def __init__(self, target: Ear, keys: CurveKeyPair) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        set_for_dialler(self.socket, keys, target.public)
        self.socket.setsockopt(zmq.MAXMSGSIZE, -1)
        self.socket.setsockopt(zmq.IMMEDIATE, 0)
        self.socket.connect(target.transport.endpoint)

    async def close(self) -> None:
        self.socket.close()
        await asyncio.to_thread(self._context.term)


async def test_rogue_key_gets_nothing_in() -> None:
    a, b = await pair()
    rogue = RawDialler(a, new_curve_key_pair())
    try:
        rogue.socket.send(b"I am b, believe me")
        await until(lambda: a.transport.dropped().get("key_not_admitted", 0) >= 1)
        assert b.transport.send(a.node_id, b"real")
        await until(lambda: bool(a.frames))
        assert a.frames == [(b.node_id, b"real")]
    finally:
        await rogue.close()
        await a.transport.close()
        await b.transport.close()


async def test_connection_without_curve_is_refused() -> None:
    a, b = await pair()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    try:
        socket.connect(a.transport.endpoint)
        socket.send(b"plain text")
        assert b.transport.send(a.node_id, b"real")
        await until(lambda: bool(a.frames))
        await asyncio.sleep(0.2)  # time for the plain one to be let in, were it ever
        assert a.frames == [(b.node_id, b"real")]
    finally:
        socket.close()
        await asyncio.to_thread(context.term)
        await a.transport.close()
        await b.transport.close()


async def test_sender_is_taken_from_the_key_not_from_the_frame() -> None:
    a, b = await ear(), await ear()
    keys = new_curve_key_pair()
    member = NodeId("c" * 32)
    a.transport.set_peers({member: PeerAddress("tcp://127.0.0.1:1", keys.public), b.node_id: b.address})
    raw = RawDialler(a, keys)
    try:
        raw.socket.send(b.node_id.encode())
        await until(lambda: bool(a.frames))
        assert a.frames == [(member, b.node_id.encode())]
    finally:
        await raw.close()
        await a.transport.close()
        await b.transport.close()


async def test_oversized_and_many_part_frames_are_dropped_and_cost_the_link_only() -> None:
    a, b = await ear(), await ear()
    keys = new_curve_key_pair()
    member = NodeId("c" * 32)
    a.transport.set_peers({member: PeerAddress("tcp://127.0.0.1:1", keys.public), b.node_id: b.address})
    b.meet(a)
    raw = RawDialler(a, keys)
    try:
        raw.socket.send_multipart([b"two", b"parts"])
        await until(lambda: a.transport.dropped().get("not_one_frame", 0) == 1)
        raw.socket.send(bytes(FRAME_BYTES_MAX + 1_000))
        raw.socket.send(b"after it")
        await until(lambda: b.is_up(a))
        assert b.transport.send(a.node_id, b"others are served")
        await until(lambda: bool(a.frames))
        assert a.frames == [(b.node_id, b"others are served")]
    finally:
        await raw.close()
        await a.transport.close()
        await b.transport.close()


async def test_garbage_from_a_member_is_counted_and_survived() -> None:
    keys, other = new_curve_key_pair(), new_curve_key_pair()
    board = Switchboard(RouterDealer(keys, bind="tcp://127.0.0.1:0"), FabricId("one"))
    await board.start()
    peer = Ear(NodeId("d" * 32), other.public, RouterDealer(other, bind="tcp://127.0.0.1:0"))
    await peer.start()
    me = NodeId("e" * 32)
    try:
        board.set_peers({peer.node_id: peer.address})
        peer.transport.set_peers({me: PeerAddress(board.endpoint, keys.public)})
        await until(lambda: (bool(peer.facts)) and peer.facts[-1][1] == "up")
        for frame in (b"", b"\xc1", b"\x93\x01\x02\x03", b"\x80"):
            assert peer.transport.send(me, frame)
        await until(lambda: sum(board.dropped().values()) >= 4)
        assert set(board.dropped()) <= {"malformed", "not_an_envelope", "no_link_or_full"}
    finally:
        await peer.transport.close()
        await board.close()


async def test_taken_address_is_told_by_name_and_leaves_nothing_open() -> None:
    a = await ear()
    second = RouterDealer(new_curve_key_pair(), bind=a.transport.endpoint)
    try:
        with pytest.raises(TransportError, match=a.transport.endpoint):
            await second.start(lambda *_: None)
    finally:
        await second.close()
        await a.transport.close()


async def test_many_transports_open_and_close_without_leaking_descriptors() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    a, b = await pair()
    await a.transport.close()
    await b.transport.close()
    before = descriptors()
    for _ in range(5):
        a, b = await pair()
        await a.transport.close()
        await b.transport.close()
    await until(lambda: descriptors() <= before + 2)


async def test_a_call_made_while_the_peer_restarts_reaches_its_next_process() -> None:
    """A refusal seen before the request left must not fail the call that then goes through."""
    keys, caller_keys = new_curve_key_pair(), new_curve_key_pair()
    peer, me = NodeId("d" * 32), NodeId("e" * 32)
    first = RouterDealer(keys, bind="tcp://127.0.0.1:0")
    await first.start(lambda *_: None)
    endpoint = first.endpoint
    await first.close()
    board = Switchboard(RouterDealer(caller_keys, bind="tcp://127.0.0.1:0"), FabricId("f"))
    rpc = MeshRpc(me, board)
    refused: list[LinkFact] = []
    board.on_link(lambda _, fact: refused.append(fact))
    await board.start()
    board.set_peers({peer: PeerAddress(endpoint, keys.public)})
    call = asyncio.create_task(rpc.call(peer, "t.hi", {}, timeout_ms=10_000))
    await until(lambda: LinkFact.REFUSED in refused)
    second = Switchboard(RouterDealer(keys, bind=endpoint), FabricId("f"))
    peer_rpc = MeshRpc(peer, second)

    async def greet(sender: NodeId, _: object) -> str:
        return sender

    peer_rpc.serve("t.hi", greet)
    try:
        await second.start()
        second.set_peers({me: PeerAddress(board.endpoint, caller_keys.public)})
        assert await call == me
    finally:
        for end, switchboard in ((rpc, board), (peer_rpc, second)):
            await end.close()
            await switchboard.close()


async def test_a_failing_reader_does_not_stall_what_is_queued_behind() -> None:
    a, b = Ear(*zmq_transports()()), await ear()
    heard: list[bytes] = []
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))

    def take(_: NodeId, frame: bytes) -> None:
        heard.append(frame)
        if frame == b"0":
            raise RuntimeError("reader's own fault")

    await a.transport.start(take)
    try:
        a.meet(b)
        b.meet(a)
        await until(lambda: b.is_up(a))
        for number in range(5):
            assert b.transport.send(a.node_id, b"%d" % number)
        await until(lambda: len(heard) == 5)
        assert len(faults) == 1
    finally:
        await a.transport.close()
        await b.transport.close()


def test_public_key_follows_from_the_secret() -> None:
    keys = new_curve_key_pair()
    assert curve_public_of(keys.secret) == keys.public
    assert repr(keys.secret) not in repr(keys)


async def test_three_nodes_over_sockets_survive_a_restart_on_a_new_port(tmp_path: Path) -> None:
    authority = create_authority(tmp_path, FabricId("sockets"))
    nodes = {name: await start_node(name, tmp_path / name, authority) for name in ("a", "b", "c")}
    try:
        for name in ("b", "c"):
            for state in nodes["a"].fleet.states():
                nodes[name].fleet.admit(state)
            nodes["a"].fleet.admit(nodes[name].fleet.states()[0])

        def all_alive() -> bool:
            return all(x.sees(y) is MemberState.ALIVE for x in nodes.values() for y in nodes.values())

        await until(all_alive)
        old = nodes.pop("c")
        await old.stop()
        await until(lambda: nodes["a"].sees(old) is MemberState.AGENT_DOWN)
        nodes["c"] = await start_node("c", tmp_path / "c", authority)
        assert nodes["c"].board.endpoint != old.board.endpoint
        await until(all_alive)
        answers = []

        async def who(sender: NodeId, _: object) -> str:
            answers.append(sender)
            return "c"

        nodes["c"].rpc.serve("t.who", who)
        assert await nodes["b"].rpc.call(old.node_id, "t.who", {}, timeout_ms=5_000) == "c"
        assert answers == [nodes["b"].node_id]
    finally:
        for node in nodes.values():
            await node.stop()
