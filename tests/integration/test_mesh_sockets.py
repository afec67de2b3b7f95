"""Real sockets: strangers, oversized frames, replays of restarts, and the numbers CURVE promises."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import zmq

from fabric.core.membership.model import MemberState
from fabric.mesh import peer_link
from fabric.mesh.contract import LinkFact, PeerAddress
from fabric.mesh.curve import CurveKeyPair, curve_public_of, new_curve_key_pair
from fabric.mesh.errors import TransportError
from fabric.mesh.peer_link import PeerLink
from fabric.mesh.router_dealer import RouterDealer
from fabric.mesh.rpc import MeshRpc
from fabric.mesh.switchboard import Switchboard
from fabric.mesh.zmq_options import MESSAGE_BYTES_MAX, new_context, set_for_dialler
from fabric.runtime.authority import create_authority
from fabric.runtime.peers_file import load_peers
from proto.codec import FRAME_BYTES_MAX, pack
from proto.envelope import fabric_tag
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
        self.socket.setsockopt(zmq.SNDHWM, 0)
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
    a.transport.admit(member, PeerAddress("tcp://127.0.0.1:1", keys.public))
    raw = RawDialler(a, keys)
    try:
        raw.socket.send(b.node_id.encode())
        await until(lambda: bool(a.frames))
        assert a.frames == [(member, b.node_id.encode())]
    finally:
        await raw.close()
        await a.transport.close()
        await b.transport.close()


async def test_oversized_and_many_part_frames_are_dropped_and_counted() -> None:
    a, b = await ear(), await ear()
    keys = new_curve_key_pair()
    member = NodeId("c" * 32)
    a.transport.admit(member, PeerAddress("tcp://127.0.0.1:1", keys.public))
    a.know(b)
    b.meet(a)
    raw = RawDialler(a, keys)
    try:
        raw.socket.send_multipart([b"two", b"parts"])
        raw.socket.send_multipart([b"three", b"parts", b"even"])
        await until(lambda: a.transport.dropped().get("not_one_frame", 0) == 2)
        raw.socket.send(bytes(FRAME_BYTES_MAX + 1))
        await until(lambda: a.transport.dropped().get("frame_too_long", 0) == 1)
        raw.socket.send(b"after it")
        await until(lambda: bool(a.frames))
        assert a.frames == [(member, b"after it")]
    finally:
        await raw.close()
        await a.transport.close()
        await b.transport.close()


async def test_a_huge_frame_costs_its_sender_the_connection_and_nobody_else() -> None:
    a, b = await ear(), await ear()
    keys = new_curve_key_pair()
    member = NodeId("c" * 32)
    a.transport.admit(member, PeerAddress("tcp://127.0.0.1:1", keys.public))
    a.know(b)
    b.meet(a)
    raw = RawDialler(a, keys)
    try:
        raw.socket.send(bytes(MESSAGE_BYTES_MAX + 1_000))
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
        board.admit(peer.node_id, peer.address)
        peer.transport.admit(me, PeerAddress(board.endpoint, keys.public))
        peer.transport.pin(frozenset({me}))
        await until(lambda: (bool(peer.facts)) and peer.facts[-1][1] == "up")
        future = pack([99, fabric_tag(FabricId("one")), "member.beat", {}])
        foreign = pack([1, fabric_tag(FabricId("two")), "member.beat", {}])
        for frame in (b"", b"\xc1", b"\x93\x01\x02\x03", b"\x80", future, foreign):
            assert peer.transport.send(me, frame)
        await until(lambda: sum(board.dropped().values()) == 6)
        dropped = board.dropped()
        assert set(dropped) <= {"malformed", "not_an_envelope", "unknown_version", "wrong_fabric"}
        assert dropped["unknown_version"] == dropped["wrong_fabric"] == 1
    finally:
        await peer.transport.close()
        await board.close()


class Tap:
    """Somebody on the wire between two nodes: records what one says, and may say it again or change it."""

    def __init__(self, endpoint: str) -> None:
        self._target = endpoint.removeprefix("tcp://").split(":")
        self.heard: list[bytes] = []
        self.flip = False
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers = [writer, far_writer]
        for one, other, is_kept in ((reader, far_writer, True), (far_reader, writer, False)):
            task = asyncio.create_task(self._pump(one, other, is_kept))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_kept: bool) -> None:
        while data := await _read(reader):
            if is_kept:
                self.heard.append(data)
                if self.flip and len(data) > 300:
                    data = data[:-1] + bytes([data[-1] ^ 1])
            writer.write(data)
        writer.close()

    def say_again(self, data: bytes) -> None:
        self._writers[1].write(data)

    async def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65_536)
    except ConnectionResetError:
        return b""


async def tapped_pair() -> tuple[Ear, Ear, Tap]:
    """`a` dials `b` through the tap."""
    a, b = await ear(), await ear()
    tap = Tap(b.transport.endpoint)
    a.transport.admit(b.node_id, PeerAddress(await tap.start(), b.public))
    a.transport.pin(frozenset({b.node_id}))
    b.know(a)
    await until(lambda: a.is_up(b))
    return a, b, tap


async def test_a_replayed_message_is_dropped_counted_and_costs_the_connection() -> None:
    a, b, tap = await tapped_pair()
    try:
        assert a.transport.send(b.node_id, b"pay once" + bytes(500))
        await until(lambda: len(b.frames) == 1)
        (message,) = [data for data in tap.heard if len(data) > 500]
        tap.say_again(message)
        await until(lambda: b.transport.dropped().get("replayed", 0) == 1)
        await until(lambda: LinkFact.LOST in a.facts_of(b))
        assert len(b.frames) == 1
    finally:
        await tap.close()
        await a.transport.close()
        await b.transport.close()


async def test_a_message_changed_on_the_wire_is_dropped_and_counted() -> None:
    a, b, tap = await tapped_pair()
    try:
        tap.flip = True
        assert a.transport.send(b.node_id, b"change me" + bytes(500))
        await until(lambda: b.transport.dropped().get("forged", 0) == 1)
        assert b.frames == []
    finally:
        await tap.close()
        await a.transport.close()
        await b.transport.close()


async def test_a_link_that_takes_nothing_is_found_wedged_and_dialled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The peer's machine and connection live, and its agent reads nothing: only the queue shows it."""
    monkeypatch.setattr(peer_link, "WEDGED_S", 0.5)
    a, b = await pair()
    reader = b.transport._reader  # type: ignore[attr-defined]
    asyncio.get_running_loop().remove_reader(reader._fd)
    reader._is_open = False  # b's agent hangs; libzmq's own thread goes on
    frame = bytes(256 * 1024)
    try:
        a.facts.clear()

        def is_told() -> bool:
            a.transport.send(b.node_id, frame)
            return LinkFact.LOST in a.facts_of(b)

        await until(is_told, 60)
        assert a.transport.dropped()["link_wedged"] == 1
        assert LinkFact.REFUSED not in a.facts_of(b)  # a hanging agent is no dead process
    finally:
        await a.transport.close()
        await b.transport.close()


async def test_links_to_one_dead_node_do_not_knock_together() -> None:
    """Twenty links lose the same peer in the same instant; their redials must spread (defradb #1092)."""
    keys = new_curve_key_pair()
    gone = await ear()
    address = gone.address
    await gone.transport.close()
    told: dict[int, list[float]] = {}
    loop = asyncio.get_running_loop()
    context = new_context()
    links = []
    try:
        for number in range(20):
            times = told.setdefault(number, [])
            links.append(
                PeerLink(
                    context,
                    keys,
                    address,
                    lambda _, times=times: times.append(loop.time()),  # type: ignore[misc]
                    Random(number),
                    is_pinned=True,
                )
            )
        await until(lambda: all(len(times) >= 5 for times in told.values()))
        fifth = sorted(times[4] for times in told.values())
        assert fifth[-1] - fifth[0] > 0.3
        apart = [later - sooner for sooner, later in pairwise(fifth)]
        assert max(apart) < fifth[-1] - fifth[0]  # spread out, not two groups
    finally:
        for link in links:
            link.close()
        await asyncio.to_thread(context.term)


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
    board.admit(peer, PeerAddress(endpoint, keys.public))
    call = asyncio.create_task(rpc.call(peer, "t.hi", {}, timeout_ms=10_000))
    await until(lambda: LinkFact.REFUSED in refused)
    second = Switchboard(RouterDealer(keys, bind=endpoint), FabricId("f"))
    peer_rpc = MeshRpc(peer, second)

    async def greet(sender: NodeId, _: object) -> str:
        return sender

    peer_rpc.serve("t.hi", greet)
    try:
        await second.start()
        second.admit(me, PeerAddress(board.endpoint, caller_keys.public))
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
        await until(lambda: len(load_peers(tmp_path / "c")[0]) == 2)
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
