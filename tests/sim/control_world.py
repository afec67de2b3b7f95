"""A fabric's control path under one seed: users who ask, faults that strike, then peace.

Real: log, SQLite, handlers, scheduler, reaper, nudger, state service, RPC, codec, host side, sim driver,
fake plug. Simulated: time, threads, the network's cables, who dies when (see `virtual_loop`), and the
membership table (it has a simulator of its own). The `story` tells what happened, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fabric.core.membership.model import MemberState
from fabric.core.nodes.queries import ListHosts
from fabric.core.placement.claim import limits_of
from fabric.core.queries import Page
from fabric.core.servers.model import ServerView
from fabric.core.servers.queries import ListServers, ServerFilter
from fabric.core.servers.states import VmState
from fabric.errors import CommandRejectedError, FabricError
from fabric.mesh.contract import PeerAddress
from fabric.store.program import PROGRAM
from fabric.store.tables import level2
from proto.commands import Command
from proto.commands.identity import ProjectCreate, UserCreate
from proto.commands.networks import FixedIpChoice, NetworkCreate, PortSpec, SecurityGroupCreate
from proto.commands.quotas import QuotaSet
from proto.commands.servers import ServerAct, ServerCreate
from proto.ids import FlavorId, NodeId, PortId, RequestId, ServerId
from tests.fixtures import store_world as rows
from tests.fixtures.compute_doubles import FleetDouble
from tests.sim.control_faults import Faults
from tests.sim.control_nodes import Conductor, Host, SimNode
from tests.sim.lossy_network import LossyNetwork
from tests.sim.stepped_state import SteppedState
from tests.sim.virtual_loop import Process

HOSTS = 3
USERS = 3
WISHES = 20  # of each user
DEADLINE_MS = 90_000
ANSWER_S = 5.0  # after that a user asks again, under the same request id
QUOTA = 12  # instances: about what the hosts can hold, so now the one, now the other refuses
ADDRESSES = 48  # few, so that users collide
QUIET_S = 600.0
LIFE_S = 3_600.0  # a fabric that never answers again is found out too
SETTLE_S = 75.0  # longer than every resync, heal and full pull of a host
LARGE = FlavorId("m1.large")
VERBS = ("delete", "stop", "stop", "start", "start", "reboot_soft", "reboot_hard")


@dataclass(slots=True)
class Wish:
    """One command of a user, and what it was told in the end."""

    command: Command
    request_id: RequestId
    index: int = 0  # of its entry; 0 while unanswered, or rejected
    rejected: str | None = None

    @property
    def is_accepted(self) -> bool:
        return self.index > 0


@dataclass
class ControlWorld:
    seed: int
    directory: Path
    story: list[str] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._users_rng = Random(f"{self.seed}/users")
        self.faults = Faults(self, Random(f"{self.seed}/faults"))
        self.network = LossyNetwork(Random(f"{self.seed}/network"))
        self.fleet = FleetDouble({})
        self.fleet.states.clear()
        names: dict[NodeId, str] = {}
        self.conductor = Conductor(
            self.network,
            self.directory / "conductor",
            Random(f"{self.seed}/store"),
            fleet=self.fleet,
            names=names,
        )
        self.conductor.on_crash = self.conductor_crashed
        self.hosts = [
            Host(f"host-{letter}", self.network, self.directory / f"host-{letter}", self.seed)
            for letter in "abcdef"[:HOSTS]
        ]
        names.update({host.node_id: host.name for host in self.hosts})
        self._met: dict[str, SimNode] = {}
        self._dead: list[Process] = []
        self._servers: list[ServerId] = []
        self._addresses = 0

    # The whole life.

    async def run(self) -> None:
        """Trouble and wishes together, then peace until nothing moves any more."""
        for node in (self.conductor, *self.hosts):
            node.directory.mkdir(parents=True)
        await self.start(self.conductor)
        await self._make_rows()
        for host in self.hosts:
            await self.start(host)
        trouble = asyncio.create_task(self.faults.run())
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._user(Random(self._users_rng.random())) for _ in range(USERS)), trouble)
        await self._peace()
        await self._until_quiet()
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch  # raises what it has seen

    async def close(self) -> None:
        """Everything that still runs ends, the dead too."""
        for node in (*self.hosts, self.conductor):
            if node.process is not None:
                await node.stop()
        for process in self._dead:
            await process.bury()
        await self.conductor.let_go()

    def tell(self, what: str) -> None:
        self.story.append(f"{asyncio.get_running_loop().time():8.3f}  {what}")

    # Users.

    async def do(self, command: Command, request_id: RequestId) -> Wish:
        """Asks until there is an answer, always under the same id."""
        wish = Wish(command, request_id)
        self.wishes.append(wish)
        while True:
            state = self.conductor.state
            if state is not None:
                try:
                    async with asyncio.timeout(ANSWER_S):
                        wish.index = await self._ask(state, command, request_id)
                    return wish
                except CommandRejectedError as error:
                    wish.rejected = error.reason
                    return wish
                except (FabricError, TimeoutError) as error:
                    self.tell(f"{request_id}: no answer ({type(error).__name__}), will ask again")
            await asyncio.sleep(0.25)

    async def _ask(self, state: SteppedState, command: Command, request_id: RequestId) -> int:
        """The entry's index. Some clients ask twice at once: they must hear the same."""
        times = 2 if self._users_rng.random() < 0.2 else 1
        asked = [state.propose(command, request_id=request_id) for _ in range(times)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        told = {str(a) if isinstance(a, BaseException) else a.index for a in answers}
        assert len(told) == 1, f"{request_id}: {told}"
        first = answers[0]
        if isinstance(first, BaseException):
            raise first
        return first.index

    async def views(self) -> list[ServerView]:
        state = self.conductor.state
        assert state is not None
        query = ListServers(filter=ServerFilter(), page=Page(limit=None))
        return list(await state.read(query))

    async def _user(self, rng: Random) -> None:
        for number in range(WISHES):
            await asyncio.sleep(rng.uniform(0.0, 4.0))
            known = self._accepted() if rng.random() < 0.9 else self._servers
            if not known or rng.random() < 0.45:
                await self._create(rng)
            else:
                await self._act(rng, rng.choice(known), rng.choice(VERBS), number)

    def _accepted(self) -> list[ServerId]:
        creates = [wish for wish in self.wishes if isinstance(wish.command, ServerCreate)]
        return [wish.command.server_id for wish in creates if wish.is_accepted]

    async def _create(self, rng: Random) -> None:
        server_id = ServerId(drawn_uuid(rng))
        self._servers.append(server_id)
        name = f"s{len(self._servers)}"
        ports = tuple(self._port(rng) for _ in range(rng.randint(1, 2)))
        command = ServerCreate(
            server_id=server_id,
            project_id=rows.PROJECT,
            user_id=rows.USER,
            request_id=RequestId(f"create-{name}"),
            name=name,
            hostname=name,
            flavor_id=rng.choice((rows.FLAVOR, LARGE)),
            image_id=rows.IMAGE,
            config_drive=rng.random() < 0.3,
            new_ports=ports,
            deadline_ms=self.conductor.clock.wall_ms() + DEADLINE_MS,
        )
        wish = await self.do(command, command.request_id)
        self.tell(f"create {name}: {wish.rejected or wish.index}")

    def _port(self, rng: Random) -> PortSpec:
        address = f"10.0.0.{rng.randint(10, 9 + ADDRESSES)}"
        port_id = PortId(drawn_uuid(rng))
        return PortSpec(
            port_id=port_id,
            network_id=rows.NETWORK,
            project_id=rows.PROJECT,
            mac=f"fa:16:3e:{port_id[:2]}:{port_id[2:4]}:{port_id[4:6]}",
            fixed_ips=(FixedIpChoice(rows.SUBNET, address),),
            security_group_ids=(rows.GROUP,),
        )

    async def _act(self, rng: Random, server_id: ServerId, verb: str, number: int) -> None:
        name = f"s{self._servers.index(server_id) + 1}"
        request_id = RequestId(f"{verb}-{name}-{number}-{rng.randrange(1 << 30)}")
        deadline_ms = self.conductor.clock.wall_ms() + DEADLINE_MS
        command = ServerAct(server_id=server_id, verb=verb, request_id=request_id, deadline_ms=deadline_ms)
        wish = await self.do(command, request_id)
        self.tell(f"{verb} {name}: {wish.rejected or wish.index}")

    async def _make_rows(self) -> None:
        create_group = SecurityGroupCreate(security_group_id=rows.GROUP, project_id=rows.PROJECT, name="web")
        commands: list[Command] = [
            PROGRAM.raise_to(level2.LEVEL),  # as the autopilot does, a moment after the founding
            rows.fabric_init(),
            ProjectCreate(project_id=rows.PROJECT, domain_id=rows.DOMAIN, name="demo"),
            UserCreate(user_id=rows.USER, domain_id=rows.DOMAIN, name="demo", password_hash="h"),
            rows.flavor_create(),
            rows.flavor_create(LARGE, vcpus=3, memory_mb=1_536, root_gb=8),
            rows.image_create(),
            rows.image_activate(sha256="7" * 64),
            NetworkCreate(network_id=rows.NETWORK, project_id=rows.PROJECT, name="net"),
            rows.subnet_create(),
            create_group,
            QuotaSet(project_id=rows.PROJECT, limits={"instances": QUOTA, "cores": -1, "ram": -1}),
        ]
        for number, command in enumerate(commands):
            wish = await self.do(command, RequestId(f"init-{number}"))
            assert wish.is_accepted, (command.KIND, wish.rejected)

    # Processes.

    async def start(self, node: SimNode) -> None:
        await (node.start(self.conductor.node_id) if isinstance(node, Host) else node.start())  # type: ignore[attr-defined]
        self._met[node.name] = node
        for each in self._met.values():
            if each.process is None:
                continue
            others = [other for other in self._met.values() if other is not each]
            for other in others:
                address = PeerAddress(other.transport.endpoint, other.public)
                each.process.run(each.board.admit, other.node_id, address)
            each.process.run(each.board.pin, frozenset(other.node_id for other in others))
        if isinstance(node, Host):
            self.believe_later(node, MemberState.ALIVE, 0.3)
        self.tell(f"{node.name} starts")

    def believe_later(self, host: Host, state: MemberState, after_s: float) -> None:
        process = host.process

        def believe() -> None:
            if host.process is process:
                self.fleet.states[host.node_id] = state

        asyncio.get_running_loop().call_later(after_s, believe)

    def kill(self, host: Host) -> None:
        self._dead.append(host.kill())

    def conductor_crashed(self) -> None:
        self._dead.append(self.conductor.crash())
        self.tell("conductor crashed")

    # Peace.

    async def _peace(self) -> None:
        """No new trouble, and what was broken is whole again. Clocks stay as wrong as they are, and a host
        may stay away: what it owes must come to an end without it."""
        self.network.mend()
        for host in self.hosts:
            host.faults.failures.clear()
        if self.conductor.state is not None:
            self.conductor.state.crash_at = None
        away = self._users_rng.choice([None, *self.hosts])
        if away is not None and away.process is not None:
            self.kill(away)
            self.believe_later(away, MemberState.AGENT_DOWN, 1.5)
        for node in (self.conductor, *self.hosts):
            if node.process is None and node is not away:
                await self.start(node)
        for host in self.hosts:
            if host is not away:
                self.believe_later(host, MemberState.ALIVE, 0.0)
        self.tell(f"peace, without {away.name}" if away is not None else "peace")
        if away is not None:
            await self._ask_of(away)
            await self._until_quiet()
            await self.start(away)

    async def _ask_of(self, host: Host) -> None:
        """Something of every server on a host that is away."""
        rng = self._users_rng
        for number, view in enumerate(await self.views()):
            if view.server.host_id == host.node_id:
                await self._act(rng, view.server.server_id, rng.choice(VERBS), WISHES + number)

    async def _until_quiet(self) -> None:
        """Liveness: every server comes to rest. Then long enough for whatever heals late."""
        async with asyncio.timeout(QUIET_S):
            while any(is_moving(view) for view in await self.views()):
                await asyncio.sleep(1.0)
        await asyncio.sleep(SETTLE_S)
        self.tell("quiet")

    async def _watch(self) -> None:
        """Safety at every moment: a guest is on one host at most, quota and capacity are kept."""
        while True:
            places = Counter([guest.server_id for host in self.hosts for guest in await host.guests()])
            twice = [server_id for server_id, count in places.items() if count > 1]
            assert not twice, f"on two hosts: {twice}"
            state = self.conductor.state
            if state is not None:
                with contextlib.suppress(FabricError):  # it stops right now
                    await self._check_limits(state)
            await asyncio.sleep(0.5)

    async def _check_limits(self, state: SteppedState) -> None:
        usages = await state.read(ListHosts())
        for usage in usages:
            limits = limits_of(usage.host)
            assert usage.vcpus_used <= limits.vcpus, usage
            assert usage.memory_mb_used <= limits.memory_mb, usage
            assert usage.disk_gb_used <= limits.disk_gb, usage
        assert sum(usage.servers for usage in usages) <= QUOTA, usages


def is_moving(view: ServerView) -> bool:
    server = view.server
    return server.task_state is not None or server.vm_state is VmState.BUILDING


def drawn_uuid(rng: Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
