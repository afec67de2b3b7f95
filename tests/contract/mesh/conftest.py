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


@pytest.fixture(params=["zmq", "loopback"])
def make_transport(request: pytest.FixtureRequest) -> MakeTransport:
    return zmq_transports() if request.param == "zmq" else loopback_transports()


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
async def ends(make_transport: MakeTransport) -> AsyncIterator[list[RpcEnd]]:
    made = await rpc_ends(make_transport, 3)
    try:
        yield made
    finally:
        for end in made:
            await end.close()
