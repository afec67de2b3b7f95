"""Drivers of two hosts over the mesh: who is let in, and that a guest gets through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.contract import DomainSpec, Nic, Power, RootDisk
from drivers.sim import SimDriver
from fabric.compute.live_link import LiveLink, MigrationNotPreparedError
from fabric.errors import PeerUnreachableError
from proto.errors import DriverError
from proto.ids import NodeId, ServerId, new_uuid
from tests.fixtures.mesh_nodes import RpcEnd, loopback_transports, rpc_ends


@dataclass
class Host:
    end: RpcEnd
    driver: SimDriver
    link: LiveLink

    @property
    def node_id(self) -> NodeId:
        return self.end.node_id


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[list[Host]]:
    made = []
    for index, end in enumerate(await rpc_ends(loopback_transports(), 3)):
        driver = SimDriver(tmp_path / str(index))
        await driver.open()
        made.append(Host(end, driver, LiveLink(end.rpc, driver)))
    yield made
    for host in made:
        await host.link.close()
        await host.end.close()


@pytest.fixture
def spec(tmp_path: Path) -> DomainSpec:
    base = tmp_path / "base"
    base.write_bytes(b"image")
    return DomainSpec(
        server_id=ServerId(new_uuid()),
        name="web",
        project_id="p",
        vcpus=1,
        memory_mb=64,
        root=RootDisk(base_path=str(base), base_format="raw", size_gb=1),
        nics=(Nic(device="tap0", mac="fa:16:3e:aa:bb:cc", mtu=1450),),
    )


async def migrate(source: Host, destination: NodeId, spec: DomainSpec, landing: bytes) -> None:
    other = source.link.other_host(destination, spec.server_id)
    await source.driver.migrate(
        spec.server_id, landing, other, bandwidth_mib_s=0, on_progress=lambda progress: None
    )


async def test_a_guest_gets_through(hosts: list[Host], spec: DomainSpec) -> None:
    a, b, _ = hosts
    await a.driver.ensure_running(spec)
    with pytest.raises(MigrationNotPreparedError):
        await a.link.landing(b.node_id, spec.server_id)
    b.link.expect(spec.server_id, a.node_id, await b.driver.prepare_incoming(spec))
    await migrate(a, b.node_id, spec, await a.link.landing(b.node_id, spec.server_id))
    b.link.expect_only(())
    assert (await b.driver.finish_incoming(spec.server_id)).power is Power.RUNNING
    with pytest.raises(MigrationNotPreparedError):
        await a.link.landing(b.node_id, spec.server_id)


async def test_nobody_else_is_let_in(hosts: list[Host], spec: DomainSpec) -> None:
    a, b, c = hosts
    for host in (a, c):
        await host.driver.ensure_running(spec)
    b.link.expect(spec.server_id, a.node_id, await b.driver.prepare_incoming(spec))
    with pytest.raises(MigrationNotPreparedError):
        await c.link.landing(b.node_id, spec.server_id)
    landing = await a.link.landing(b.node_id, spec.server_id)
    with pytest.raises(DriverError, match="did not leave"):
        await migrate(c, b.node_id, spec, landing)
    with pytest.raises(DriverError, match="has not arrived"):
        await b.driver.finish_incoming(spec.server_id)
    assert (await c.driver.ensure_running(spec)).power is Power.RUNNING
    await migrate(a, b.node_id, spec, landing)
    assert (await b.driver.finish_incoming(spec.server_id)).power is Power.RUNNING


async def test_a_pipe_for_nothing_is_closed(hosts: list[Host], spec: DomainSpec) -> None:
    a, b, _ = hosts
    for purpose in (
        "",
        "migration",
        f"migration {spec.server_id}",
        "migration x y z",
        f"other {spec.server_id} guest",
    ):
        pipe = await a.link._pipes.connect(b.node_id, purpose)
        with pytest.raises(ConnectionError):
            await pipe.read()


async def test_a_destination_that_stops_leaves_it_here(hosts: list[Host], spec: DomainSpec) -> None:
    a, b, _ = hosts
    await a.driver.ensure_running(spec)
    b.link.expect(spec.server_id, a.node_id, await b.driver.prepare_incoming(spec))
    landing = await a.link.landing(b.node_id, spec.server_id)
    await b.link.close()
    await b.end.close()
    async with asyncio.timeout(30):
        with pytest.raises(DriverError, match="did not leave"):
            await migrate(a, b.node_id, spec, landing)
        with pytest.raises((PeerUnreachableError, MigrationNotPreparedError)):
            await a.link.landing(b.node_id, spec.server_id)
    assert (await a.driver.ensure_running(spec)).power is Power.RUNNING
