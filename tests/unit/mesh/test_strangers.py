"""Who knocks at a real listener with a key nobody admitted is remembered by address, and not without end."""

from __future__ import annotations

from fabric.mesh.contract import PeerAddress
from fabric.mesh.curve import new_curve_key_pair
from fabric.mesh.router_dealer import STRANGERS_MAX, RouterDealer
from proto.ids import NodeId
from tests.fixtures.mesh_nodes import Ear, until, zmq_transports


async def test_a_strangers_address_is_told() -> None:
    make = zmq_transports()
    ours, stranger = Ear(*make()), Ear(*make())
    await ours.start()
    await stranger.start()
    stranger.meet(ours)
    transport = ours.transport
    assert isinstance(transport, RouterDealer)
    await until(lambda: transport.strangers().get("127.0.0.1", 0) > 0)
    assert transport.dropped()["key_not_admitted"] >= 1
    await stranger.transport.close()
    await ours.transport.close()


async def test_a_former_key_is_told_by_its_owner() -> None:
    """Rotated or removed, whoever still uses it can be named."""
    transport = RouterDealer(new_curve_key_pair(), bind="tcp://127.0.0.1:0")
    rotated, removed = NodeId("a" * 32), NodeId("b" * 32)
    old, new, gone = (new_curve_key_pair().public for _ in range(3))
    transport.admit(rotated, PeerAddress("tcp://127.0.0.1:1", old))
    transport.admit(rotated, PeerAddress("tcp://127.0.0.1:1", new))
    transport.admit(removed, PeerAddress("tcp://127.0.0.1:1", gone))
    transport.expel(removed)
    assert transport.former_keys_ms() == {}
    for key in (old, gone, b"k" * 32):
        assert transport._let_in(key, "10.0.0.1") is None
    assert transport._let_in(new, "10.0.0.1") is not None
    assert set(transport.former_keys_ms()) == {rotated, removed}
    await transport.close()


def test_many_addresses_push_out_the_rarest() -> None:
    transport = RouterDealer(new_curve_key_pair(), bind="tcp://127.0.0.1:0")
    for _ in range(3):
        transport._let_in(b"k" * 32, "10.0.0.1")
    for number in range(10 * STRANGERS_MAX):
        transport._let_in(b"k" * 32, f"10.1.{number // 256}.{number % 256}")
    assert len(transport.strangers()) == STRANGERS_MAX
    assert transport.strangers()["10.0.0.1"] == 3
