"""The control path at level 2, with servers that want something of their hosts' own; what Placement shows is
looked at all the while."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select

from drivers.contract import PciDevice
from fabric.compute.processors import HostProcessors
from fabric.compute.supplement import Supplement
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.queries import ListHostFacts
from fabric.core.providers.model import host_id_of, provider_id_of
from fabric.core.providers.queries import GetProviderRows, ListConsumers
from fabric.core.providers.tree import Forest
from fabric.core.servers.states import VmState
from fabric.core.topology.pci_config import read_pci_config
from fabric.store import tables as t
from fabric.store.program import PROGRAM
from fabric.store.query import answer
from fabric.store.tables import level3
from proto.commands.catalog import FlavorUpdate
from proto.ids import RequestId, ServerId
from tests.sim.control_world import LARGE, ControlWorld
from tests.sim.stepped_state import SteppedState

FPGA = "CUSTOM_FPGA"
FPGAS = 2  # of each host: fewer than large servers that would fit otherwise


class PlacementWorld(ControlWorld):
    """Every host has some FPGAs; a large server takes one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for host in self.hosts:
            host.supplement = Supplement(inventories={FPGA: Inventory(total=FPGAS, max_unit=FPGAS)})

    async def _make_rows(self) -> None:
        await super()._make_rows()
        wanted = {f"resources:{FPGA}": "1"}
        wish = await self.do(FlavorUpdate(flavor_id=LARGE, extra_specs_set=wanted), RequestId("init-specs"))
        assert wish.is_accepted

    async def _check_limits(self, state: SteppedState) -> None:
        await super()._check_limits(state)
        view_is_the_recount(state)


POLICY = "hw:cpu_policy"
DEDICATED = frozenset({1, 2, 3})  # of four: one large server's


class DedicatedWorld(PlacementWorld):
    """A large server wants processors for itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for host in self.hosts:
            host.processors = HostProcessors(shared=frozenset({0}), dedicated=DEDICATED)

    async def _make_rows(self) -> None:
        await super()._make_rows()
        wanted = {POLICY: "dedicated"}
        wish = await self.do(FlavorUpdate(flavor_id=LARGE, extra_specs_set=wanted), RequestId("init-policy"))
        assert wish.is_accepted

    async def _check_limits(self, state: SteppedState) -> None:
        await super()._check_limits(state)
        for host in self.hosts:
            pins = await host.pinned()
            held = [cpu for each in pins.values() for cpu in each.vcpus]
            assert len(held) == len(set(held)), pins
            assert DEDICATED.issuperset(held), pins


GPUS = tuple(
    PciDevice(address=f"0000:8{number}:00.0", vendor_id="10de", product_id="1db4", cell_id=number)
    for number in range(2)
)
NODES = {
    "hw:numa_nodes": "2", "hw:numa_cpus.0": "0-1", "hw:numa_mem.0": "1024", "hw:numa_cpus.1": "2",
    "hw:numa_mem.1": "512", "pci_passthrough:alias": "gpu:1",
}  # fmt: skip


class TopologyWorld(PlacementWorld):
    """Every host has two cells and two devices; a large server is spread over both, and wants one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for host in self.hosts:
            host.cells, host.devices = 2, GPUS
            host.pci = read_pci_config([{"vendor_id": "10de"}], [{"name": "gpu", "vendor_id": "10de"}])
        self.ever: set[ServerId] = set()  # had some

    async def _make_rows(self) -> None:
        await super()._make_rows()
        raised = await self.do(PROGRAM.raise_to(level3.LEVEL), RequestId("init-level"))
        assert raised.is_accepted
        wish = await self.do(FlavorUpdate(flavor_id=LARGE, extra_specs_set=NODES), RequestId("init-nodes"))
        assert wish.is_accepted

    async def _check_limits(self, state: SteppedState) -> None:
        await super()._check_limits(state)
        with state._rows.engine.connect() as connection, connection.begin():
            hosts = answer(connection, ListHostFacts())
        for facts in hosts:
            self.ever |= facts.held.keys()
            given = [device.address for grant in facts.held.values() for device in grant.devices]
            assert len(given) == len(set(given)), facts.held
            assert all(min(each.shared, each.sold_mb) >= 0 for each in facts.room.cells), facts


async def guests_have_what_they_were_given(world: ControlWorld) -> None:
    """At rest."""
    state = world.conductor.state
    assert state is not None
    active = {each.server.server_id for each in await world.views() if each.server.vm_state is VmState.ACTIVE}
    for facts in await state.read(ListHostFacts()):
        (host,) = [each for each in world.hosts if each.node_id == facts.host.host_id]
        guests = host.given_devices()
        for server_id, grant in facts.held.items():
            if server_id in active:
                assert guests[server_id] == [device.address for device in grant.devices], server_id
                assert len(grant.cells) == 2
        assert {each for each, devices in guests.items() if devices and each in active} <= facts.held.keys()
    assert isinstance(world, TopologyWorld)
    assert world.ever


def view_is_the_recount(state: SteppedState) -> None:
    """At one moment: what Placement shows is what the servers' rows add up to, provider by provider and
    consumer by consumer, and nobody has more than there is."""
    with state._rows.engine.connect() as connection, connection.begin():
        rows = answer(connection, GetProviderRows(with_used=True))
        consumers = answer(connection, ListConsumers())
        servers = connection.execute(select(t.servers).where(t.servers.c.host_id.is_not(None))).all()
    counted: dict[str, Counter[str]] = {}
    for row in servers:
        held = counted.setdefault(provider_id_of(row.host_id), Counter())
        is_dedicated = row.extra_specs.get(POLICY) == "dedicated"
        held["PCPU" if is_dedicated else "VCPU"] += row.vcpus
        held["MEMORY_MB"] += row.memory_mb
        held["DISK_GB"] += row.root_gb + row.ephemeral_gb
        if row.flavor_id == LARGE:
            held[FPGA] += 1
    assert rows.used == counted
    assert {each.consumer_id: set(each.allocations) for each in consumers} == {
        row.server_id: {provider_id_of(row.host_id)} for row in servers
    }
    for provider in Forest(rows):
        for name, amount in provider.used.items():
            inventory = provider.inventories.get(name)
            assert inventory is not None, (provider.name, name)
            assert amount <= inventory.capacity, (provider.name, name)


async def view_is_the_hosts_truth(world: ControlWorld) -> None:
    """At rest: every guest is a consumer of its host's provider, and each one said to run is there."""
    state = world.conductor.state
    assert state is not None
    view_is_the_recount(state)
    views = {view.server.server_id: view.server for view in await world.views()}
    rows = await state.read(GetProviderRows())
    assert set(rows.offers) == {host.node_id for host in world.hosts}
    for host in world.hosts:
        holders = await state.read(ListConsumers(provider_id=provider_id_of(host.node_id)))
        ids = {each.consumer_id for each in holders}
        assert all(host_id_of(key) == host.node_id for each in holders for key in each.allocations)
        guests = {guest.server_id for guest in await host.guests()}
        running = {each for each in ids if views[each].vm_state is VmState.ACTIVE}  # type: ignore[index]
        assert running <= guests <= ids, host.name
        wants = {each for each in running if views[each].flavor.extra_specs.get(POLICY) == "dedicated"}
        assert wants <= (await host.pinned()).keys() <= guests, host.name
