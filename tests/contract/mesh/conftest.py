"""Each suite here runs over every transport."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fixtures.mesh_nodes import (
    Ear,
    MakeTransport,
    RpcEnd,
    loopback_transports,
    rpc_ends,
    zmq_transports,
)

IDLE_S = 0.3


@pytest.fixture(params=["zmq", "loopback"])
def make_transport(request: pytest.FixtureRequest) -> MakeTransport:
    return zmq_transports() if request.param == "zmq" else loopback_transports()


@pytest.fixture(params=["zmq", "loopback"])
def make_impatient(request: pytest.FixtureRequest) -> MakeTransport:
    """Whose links, when they are not pinned, are idle soon."""
    return (zmq_transports if request.param == "zmq" else loopback_transports)(idle_s=IDLE_S)


@pytest.fixture
async def trio(make_transport: MakeTransport) -> AsyncIterator[list[Ear]]:
    ears = [Ear(*make_transport()) for _ in range(3)]
    try:
        for ear in ears:
            await ear.start()
        yield ears
    finally:
        for ear in ears:
            await ear.transport.close()


@pytest.fixture
async def impatient(make_impatient: MakeTransport) -> AsyncIterator[list[Ear]]:
    ears = [Ear(*make_impatient()) for _ in range(2)]
    try:
        for ear in ears:
            await ear.start()
        yield ears
    finally:
        for ear in ears:
            await ear.transport.close()


@pytest.fixture(params=["pinned", "on_demand"])
async def ends(make_transport: MakeTransport, request: pytest.FixtureRequest) -> AsyncIterator[list[RpcEnd]]:
    """Three that know one another. RPC must not care whether links are there before they are needed."""
    made = await rpc_ends(make_transport, 3, are_linked=request.param == "pinned")
    try:
        yield made
    finally:
        for end in made:
            await end.close()
