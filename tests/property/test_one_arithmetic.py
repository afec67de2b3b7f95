"""Of any servers with any overrides: what the scheduler thinks is used is what `apply` counts, Placement
shows and the host says of itself, and the scheduler's word on room is the word of `apply`."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.contract import Capabilities
from fabric.compute.capacity import live_capacity
from fabric.core.nodes.queries import ListHosts
from fabric.core.placement.filters import FILTERS
from fabric.core.placement.host_facts import Surroundings
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.queries import GetPlacementRequest, ListHostFacts
from fabric.core.placement.settings import PlacementSettings
from fabric.core.providers.claims import added
from fabric.core.providers.model import provider_id_of
from fabric.core.providers.queries import GetProviderRows, ListConsumers
from fabric.core.servers.model import AssignedServer
from fabric.core.servers.queries import GetAssignments
from fabric.store.apply import Entry, Outcome
from fabric.store.framing import hash_bytes
from proto.commands import Command, decode_command, encode_command
from proto.commands.catalog import FlavorCreate, FlavorUpdate
from proto.commands.identity import ProjectCreate
from proto.commands.networks import NetworkCreate
from proto.commands.nodes import RoleHold
from proto.commands.providers import ClassInventory, HostOffers
from proto.commands.servers import ServerCreate, ServerPlace
from proto.ids import Fence, FlavorId, LogIndex, RequestId, ServerId
from tests.fixtures.store_world import (
    DOMAIN,
    HOST_A,
    IMAGE,
    NETWORK,
    NODE,
    PROJECT,
    START_MS,
    USER,
    fabric_init,
    host_register,
    image_activate,
    image_create,
    node_admit,
    subnet_create,
)
from tests.property.test_where_servers_go import NewestFold

GOLD = "CUSTOM_GOLD"
COUNTING = ("CoreFilter", "RamFilter", "DiskFilter", "ResourceClassFilter")

amounts = st.integers(0, 3).map(str) | st.sampled_from(["many", "-1", ""])
specs = st.fixed_dictionaries(
    {},
    optional={
        "hw:cpu_policy": st.sampled_from(["dedicated", "shared", "mixed"]),
        "hw:cpu_dedicated_mask": st.sampled_from(["0", "^0", "1-2", "none"]),
        "hw:emulator_threads_policy": st.sampled_from(["isolate", "share"]),
        "hw:cpu_sockets": st.just("1"),
        "resources:VCPU": amounts,
        "resources:PCPU": amounts,
        "resources:MEMORY_MB": st.sampled_from(["0", "64", "4096"]),
        "resources:DISK_GB": amounts,
        "resources1:VCPU": amounts,
        f"resources_X:{GOLD}": amounts,
        f"resources:{GOLD}": amounts,
    },
)
flavors = st.tuples(
    st.integers(1, 4),  # vCPUs
    st.sampled_from([64, 512, 3_000]),
    st.integers(0, 4),  # root GB
    st.integers(0, 2),  # ephemeral GB
    st.sampled_from([0, 1, 1_024, 1_500]),  # swap MB
    specs,
)


class Fabric:
    """One host with a little of everything; the log is not looked at again."""

    def __init__(self) -> None:
        self.fold = NewestFold()
        self.count = 0
        for command in (
            fabric_init(),
            ProjectCreate(project_id=PROJECT, domain_id=DOMAIN, name="demo"),
            image_create(),
            image_activate(),
            NetworkCreate(network_id=NETWORK, project_id=PROJECT, name="net"),
            subnet_create(),
            node_admit(),
            host_register(HOST_A, "a", vcpus=4, cpu_ratio_milli=1_500, memory_mb=4_096, disk_gb=12),
            HostOffers(
                host_id=HOST_A,
                inventories={
                    "PCPU": ClassInventory(total=5, max_unit=5),
                    GOLD: ClassInventory(total=6, max_unit=4),
                },
            ),
        ):
            assert self.do(command).rejection is None, command
        self.fence = Fence(self.do(RoleHold(role="scheduler", node_id=NODE)).index)

    def do(self, command: Command) -> Outcome:
        self.count += 1
        body = encode_command(command)
        request_id = RequestId(f"req-{self.count}")
        entry = Entry(LogIndex(self.count), START_MS, request_id, hash_bytes(body), decode_command(body))
        (outcome,) = self.fold.apply([entry])
        return outcome

    def create(self, number: int, flavor: Any) -> ServerId:
        vcpus, memory_mb, root_gb, ephemeral_gb, swap_mb, extra_specs = flavor
        flavor_id, server_id = FlavorId(f"f{number}"), ServerId(f"s{number}")
        for command in (
            FlavorCreate(
                flavor_id=flavor_id, name=flavor_id, vcpus=vcpus, memory_mb=memory_mb, root_gb=root_gb,
                ephemeral_gb=ephemeral_gb, swap_mb=swap_mb,
            ),
            FlavorUpdate(flavor_id=flavor_id, extra_specs_set=extra_specs),
            ServerCreate(
                server_id=server_id, project_id=PROJECT, user_id=USER, request_id=RequestId("r"), name="s",
                hostname="s", flavor_id=flavor_id, image_id=IMAGE, new_ports=(), deadline_ms=START_MS + 500,
            ),
        ):  # fmt: skip
            assert self.do(command).rejection is None, command
        return server_id

    def is_placed(self, server_id: ServerId) -> bool:
        place = ServerPlace(server_id=server_id, host_id=HOST_A, fence=self.fence, read_generation=1)
        rejection = self.do(place).rejection
        assert rejection is None or rejection[0] == "no_capacity", rejection
        return rejection is None

    def fits(self, server_id: ServerId) -> bool:
        """By the scheduler."""
        request = self.fold.ask(GetPlacementRequest(server_id=server_id))
        table = HostTable(self.fold.ask(ListHostFacts()), Surroundings())
        filters = [FILTERS[name](PlacementSettings()) for name in COUNTING]
        return all(each.passes(request, table)[0] for each in filters if each.applies(request, table))

    def used(self) -> list[dict[str, int]]:
        """As the scheduler, `ListHosts`, Placement's usages and the sum over its allocations have it."""
        (facts,), (usage,) = self.fold.ask(ListHostFacts()), self.fold.ask(ListHosts())
        own = {"VCPU": usage.vcpus_used, "MEMORY_MB": usage.memory_mb_used, "DISK_GB": usage.disk_gb_used}
        provider_id = provider_id_of(HOST_A)
        total: dict[str, int] = {}
        for each in self.fold.ask(ListConsumers()):
            added(total, each.allocations[provider_id])
        rows = self.fold.ask(GetProviderRows(with_used=True))
        return [facts.used, own | usage.others_used, rows.used.get(provider_id, {}), total]

    def said_by_the_host(self) -> dict[str, int]:
        assigned: list[AssignedServer] = self.fold.ask(GetAssignments(host_id=HOST_A)).servers
        said = live_capacity(CAPABILITIES, assigned)
        return {"VCPU": said.vcpus_used, "MEMORY_MB": said.memory_mb_used, "DISK_GB": said.disk_gb_used}


CAPABILITIES = Capabilities(
    hypervisor_type="sim", hypervisor_version=1, hypervisor_hostname="a", arch="x86_64", vcpus=4,
    memory_mb=4_096, disk_gb=12,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(flavors, min_size=1, max_size=5))
def test_everybody_counts_the_same(wanted: list[Any]) -> None:
    fabric = Fabric()
    try:
        for number, flavor in enumerate(wanted):
            server_id = fabric.create(number, flavor)
            assert fabric.fits(server_id) == fabric.is_placed(server_id), flavor
            counts = [{name: each for name, each in used.items() if each} for used in fabric.used()]
            assert counts == [counts[0]] * 4
            host = {name: each for name, each in fabric.said_by_the_host().items() if each}
            own = {name: each for name, each in counts[0].items() if name in ("VCPU", "MEMORY_MB", "DISK_GB")}
            assert host == own
    finally:
        fabric.fold.close()
