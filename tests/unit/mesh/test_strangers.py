"""Who knocks at a real listener with a key nobody admitted is remembered by address, and not without end."""

from __future__ import annotations

from fabric.mesh.curve import new_curve_key_pair
from fabric.mesh.router_dealer import STRANGERS_MAX, RouterDealer
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


def test_many_addresses_push_out_the_rarest() -> None:
    transport = RouterDealer(new_curve_key_pair(), bind="tcp://127.0.0.1:0")
    for _ in range(3):
        transport._let_in(b"k" * 32, "10.0.0.1")
    for number in range(10 * STRANGERS_MAX):
        transport._let_in(b"k" * 32, f"10.1.{number // 256}.{number % 256}")
    assert len(transport.strangers()) == STRANGERS_MAX
    assert transport.strangers()["10.0.0.1"] == 3
