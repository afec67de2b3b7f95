"""Cells and devices: any guests on any host are given no more than there is, whoever asks gets some if there
is a way, and twenty schedulers that look at different times cannot make it otherwise."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from fabric.core.placement.choose import fitting
from fabric.core.placement.queries import GetPlacementRequest, ListHostFacts
from fabric.core.topology.facts import write_facts
from fabric.core.topology.give import give, shortage
from fabric.core.topology.model import Affinity, Grant, HostCell, HostDevice, HostTopology
from fabric.core.topology.room import HostRoom, room_of
from fabric.core.topology.wish import TopologyWish
from fabric.store.apply import Entry
from fabric.store.framing import hash_bytes
from proto.commands import Command, decode_command, encode_command
from proto.commands.catalog import FlavorCreate, FlavorUpdate
from proto.commands.providers import ClassInventory, HostOffers
from proto.commands.servers import ServerCreate, ServerPlace
from proto.ids import FlavorId, LogIndex, RequestId, ServerId
from tests.fixtures.store_world import IMAGE, PROJECT, START_MS, USER
from tests.property.test_stale_schedulers import HOSTS, POLICY, StaleSchedulers
from tests.property.test_where_servers_go import NewestFold
from tests.unit.core.topology.rows import wish

ALIASES = ("gpu", "nic")


def topology(rng: Random) -> HostTopology:
    cells = tuple(
        HostCell(
            cell_id=number,
            memory_mb=rng.choice((64, 256, 1_024)),
            shared=rng.randint(0, 4),
            dedicated=rng.randint(0, 4),
            pages={2_048: rng.randint(0, 64)} if rng.random() < 0.5 else {},
            socket=number // 2,
        )
        for number in range(rng.randint(0, 4))
    )
    places = [None, *(cell.cell_id for cell in cells)]
    devices = [
        HostDevice(
            address=f"0000:8{number}:00.0",
            aliases={alias: rng.choice(list(Affinity)) for alias in ALIASES if rng.random() < 0.6},
            cell_id=rng.choice(places),
            parent="0000:80:00.0" if number and rng.random() < 0.2 else "",
        )
        for number in range(rng.randint(0, 4))
    ]
    return HostTopology(cells=cells, devices=tuple(devices))


def specs(rng: Random) -> dict[str, str]:
    found: dict[str, str] = {}
    if rng.random() < 0.6:
        found["hw:numa_nodes"] = str(rng.randint(1, 3))
    if rng.random() < 0.3:
        found["hw:cpu_policy"] = "dedicated"
        if rng.random() < 0.3:
            found["hw:emulator_threads_policy"] = "isolate"
    if rng.random() < 0.3:
        found["hw:mem_page_size"] = rng.choice(("small", "large", "any", "2048"))
    if rng.random() < 0.4:
        found["pci_passthrough:alias"] = rng.choice(("gpu:1", "nic:2", "gpu:1,nic:1"))
    return found


def wishes(rng: Random, count: int) -> list[TopologyWish]:
    found = []
    for _ in range(count):
        wanted = specs(rng) or {"hw:numa_nodes": "1"}
        nodes = int(wanted.get("hw:numa_nodes", "1"))
        named = {key.replace(":", "__").replace(".", "_at_"): value for key, value in wanted.items()}
        found.append(wish(nodes * rng.randint(1, 2), nodes * rng.choice((32, 64, 128)), **named))
    return found


def room(host: HostTopology, given_: list[Grant]) -> HostRoom:
    dedicated = sum(cell.dedicated for grant in given_ for cell in grant.cells)
    return room_of(host, given_, cpu_ratio_milli=1_000, memory_ratio_milli=1_000, dedicated_used=dedicated)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32))
def test_nobody_is_given_more_than_there_is(seed: int) -> None:
    rng = Random(seed)
    host = topology(rng)
    held: list[Grant] = []
    for wanted in wishes(rng, 12):
        if held and rng.random() < 0.3:
            held.pop(rng.randrange(len(held)))
        before = room(host, held)
        grant = give(before, wanted)
        assert (grant is not None) == could_be(before, wanted)
        if grant is None:
            assert shortage(before, wanted)
            continue
        suits(wanted, grant, before)
        held.append(grant)
        is_within(host, held)


def is_within(host: HostTopology, held: list[Grant]) -> None:
    """Added up by hand."""
    for cell in host.cells:
        here = [each for grant in held for each in grant.cells if each.cell_id == cell.cell_id]
        assert sum(each.shared for each in here) <= cell.shared
        assert sum(each.dedicated for each in here) <= cell.dedicated
        assert sum(each.memory_mb for each in here if each.page_kb in (0, 4)) <= cell.memory_mb
        for size_kb, count in cell.pages.items():
            used = sum(each.memory_mb * 1_024 for each in here if each.page_kb == size_kb)
            assert used % size_kb == 0
            assert used // size_kb <= count
    given_ = [device.address for grant in held for device in grant.devices]
    assert len(given_) == len(set(given_))
    parents = {each.address: each.parent for each in host.devices}
    assert not {parents[address] for address in given_} & set(given_)


def suits(wanted: TopologyWish, grant: Grant, host: HostRoom) -> None:
    """It is what was asked for, each node at a cell of its own, each device near enough."""
    cells = [each.cell_id for each in grant.cells]
    if not host.is_silent or wanted.is_explicit:
        assert [(each.vcpus, each.memory_mb) for each in grant.cells] == [
            (each.vcpus, each.memory_mb) for each in wanted.cells
        ]
    assert len(cells) == len(set(cells))
    counts = {alias: sum(each.alias == alias for each in grant.devices) for alias in wanted.devices}
    assert counts == dict(wanted.devices)
    devices = {each.address: each for each in host.devices}
    for each in grant.devices:
        assert each.alias in devices[each.address].aliases
        assert near(devices[each.address], each.alias, cells, host)


def near(device: HostDevice, alias: str, cells: list[int], host: HostRoom) -> bool:
    if not cells:
        return True
    sockets = {each.cell.cell_id: each.cell.socket for each in host.cells}
    match device.aliases[alias]:
        case Affinity.PREFERRED:
            return True
        case Affinity.LEGACY:
            return device.cell_id is None or device.cell_id in cells
        case Affinity.REQUIRED:
            return device.cell_id in cells
        case Affinity.SOCKET:
            return sockets.get(device.cell_id) in {sockets[cell] for cell in cells}  # type: ignore[arg-type]


def could_be(host: HostRoom, wanted: TopologyWish) -> bool:
    """All ways are tried."""
    ways: list[list[int]] = [[]]
    if wanted.cells and (wanted.is_explicit or not host.is_silent):
        ways = [
            [each.cell.cell_id for each in way]
            for way in permutations(host.cells, len(wanted.cells))
            if all(each.page_kb(node) is not None for each, node in zip(way, wanted.cells, strict=True))
        ]
    units = [alias for alias, count in wanted.devices.items() for _ in range(count)]
    return any(
        all(
            alias in device.aliases and near(device, alias, way, host)
            for alias, device in zip(units, chosen, strict=True)
        )
        and not {device.parent for device in chosen} & {device.address for device in chosen}
        for way in ways
        for chosen in permutations(host.devices, len(units))
    )


# ---- through the log

CELLS = tuple(HostCell(cell_id=number, memory_mb=1_024, shared=1, dedicated=1) for number in range(2))
GPUS = tuple(
    HostDevice(address=f"0000:8{number}:00.0", aliases={"gpu": Affinity.LEGACY}, cell_id=number)
    for number in range(2)
)
KINDS: dict[str, tuple[int, dict[str, str]]] = {  # vCPUs and extra specs
    "two-nodes": (2, {"hw:numa_nodes": "2"}),
    "one-node": (1, {"hw:numa_nodes": "1"}),
    "pinned": (1, {"hw:cpu_policy": "dedicated"}),
    "gpu": (1, {"pci_passthrough:alias": "gpu:1"}),
    "near-gpu": (1, {"hw:numa_nodes": "1", "pci_passthrough:alias": "gpu:1"}),
    "nowhere": (1, {"hw:numa_nodes": "3"}),
    "plain": (1, {}),
}


class StaleTopology(StaleSchedulers):
    """Two hosts with cells and devices, one that says nothing of any."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Entry] = []

    def teardown(self) -> None:
        try:
            again = NewestFold()
            again.apply(self.log)
            assert again.dump() == self.fold.dump()
            again.close()
        finally:
            super().teardown()

    def do(self, command: Command) -> Any:
        body = encode_command(command)
        entry = Entry(
            LogIndex(self.index + 1),
            START_MS,
            RequestId(f"req-{self.index + 1}"),
            hash_bytes(body),
            decode_command(body),
        )
        self.log.append(entry)
        return super().do(command)

    @initialize()
    def found(self) -> None:
        super().found()
        told = write_facts(HostTopology(cells=CELLS, devices=GPUS))
        for host_id in HOSTS:
            facts = {} if host_id == HOSTS[-1] else told
            offer = HostOffers(host_id=host_id, inventories={"PCPU": ClassInventory(total=2)}, facts=facts)
            assert self.do(offer).rejection is None
        for name, (vcpus, extra) in KINDS.items():
            flavor_id = FlavorId(name)
            self.do(FlavorCreate(flavor_id=flavor_id, name=name, vcpus=vcpus, memory_mb=512, root_gb=1))
            self.do(FlavorUpdate(flavor_id=flavor_id, extra_specs_set=extra))

    @rule(kind=st.sampled_from(sorted(KINDS)), count=st.integers(1, 3), race=st.integers(0, 1 << 16))
    def create_topology(self, kind: str, count: int, race: int) -> None:
        for _ in range(count):
            self.created += 1
            name = f"s{self.created}"
            self.do(
                ServerCreate(
                    server_id=ServerId(name),
                    project_id=PROJECT,
                    user_id=USER,
                    request_id=RequestId(f"create-{name}"),
                    name=name,
                    hostname=name,
                    flavor_id=FlavorId(kind),
                    image_id=IMAGE,
                    deadline_ms=START_MS + 600_000,
                )
            )
        if race % 2:
            self.look(set(range(3)))
            for pick in range(race % 7):
                self.decide(pick)
        self.apply_says_what_the_scheduler_says(ServerId(f"s{self.created}"), race)

    def apply_says_what_the_scheduler_says(self, server_id: ServerId, pick: int) -> None:
        """Of a scheduler that looked just now, about any host."""
        request = self.fold.ask(GetPlacementRequest(server_id=server_id))
        self.look({0})
        table = self.seen[0].table
        host_id = HOSTS[pick % len(HOSTS)]
        fits = table.place[host_id] in fitting(replace(request, group=None), table, POLICY)
        place = ServerPlace(
            server_id=server_id, host_id=host_id, fence=self.fence, read_generation=request.generation
        )
        outcome = self.do(place)
        if outcome.rejection is None:
            assert fits, request
        elif outcome.rejection[0] == "no_capacity":
            assert not fits, outcome.rejection

    @invariant()
    def no_cell_and_no_device_is_given_twice(self) -> None:
        for facts in self.fold.ask(ListHostFacts()) if self.index else ():
            for each in facts.room.cells:
                assert min(each.shared, each.dedicated, each.sold_mb) >= 0, facts
            devices = [device.address for grant in facts.held.values() for device in grant.devices]
            assert len(devices) == len(set(devices)) <= len(facts.told.topology.devices), facts


TestStaleTopology = StaleTopology.TestCase
TestStaleTopology.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
