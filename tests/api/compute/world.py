"""Compute over a real socket, on the real command handlers and queries: three hosts that only exist as
rows and members, two projects, an image, a flavor, a network."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout

from fabric.api.compute import routes as compute_routes
from fabric.api.identity import routes as identity_routes
from fabric.api.own import routes as own_routes
from fabric.api.placement import routes as placement_routes
from fabric.api.server import ApiServer, build_root
from fabric.control import tokens
from fabric.control.context import Cloud
from fabric.core.identity.queries import GetUser, ListRoles
from fabric.core.membership.model import Load, Member, MemberState, NodeRecord, RoleClaim
from fabric.core.moves.queries import GetOpenMove
from fabric.core.nodes.queries import ListRoleGrants
from fabric.core.servers.model import ImageSource, Server
from fabric.core.servers.queries import GetServer
from fabric.core.servers.states import PowerState
from fabric.core.voters.levels import LEVELS_LABEL, THIS_PROGRAM
from fabric.errors import PeerUnreachableError
from fabric.runtime.clock import SystemClock
from fabric.runtime.hosts import MigrationView
from fabric.runtime.shared_table import SharedTable
from proto.commands import Command
from proto.commands.catalog import FlavorCreate, ImageActivate, ImageCreate
from proto.commands.identity import AssignmentGrant, FabricInit, ProjectCreate, UserCreate
from proto.commands.moves import MoveUnplaceable
from proto.commands.networks import AllocationPool, NetworkCreate, SubnetCreate
from proto.commands.nodes import HostRegister, JoinTokenCreate, NodeAdmit, RoleHold
from proto.commands.servers import ServerObserved, ServerPlace, ServerUnplaceable
from proto.ids import (
    DomainId,
    Epoch,
    FabricId,
    Fence,
    FlavorId,
    ImageId,
    NetworkId,
    NodeId,
    ProjectId,
    RoleId,
    ServerId,
    SubnetId,
    TokenId,
    UserId,
    new_hex_id,
    new_request_id,
    new_uuid,
)
from tests.api.state_engine import open_state

HOSTS = tuple(NodeId(f"{number:032x}") for number in (0xA1, 0xB2, 0xC3))
HOST_NAMES = ("h1", "h2", "h3")
IMAGE = ImageId("11111111-1111-4111-8111-111111111111")
FLAVOR = FlavorId("1")
NETWORK = NetworkId("22222222-2222-4222-8222-222222222222")
SUBNET = SubnetId("33333333-3333-4333-8333-333333333333")
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINsxMsdhCUmWMzuqT7gUghqovGFhuNBiHQOk7cTCxtUO ada@home"


@dataclass
class FakeFleet:
    """Everybody is alive except those in `silent` and those a state is given for."""

    clock: SystemClock
    silent: set[NodeId] = field(default_factory=set)
    states: dict[NodeId, MemberState] = field(default_factory=dict)
    words: dict[NodeId, dict[str, str]] = field(default_factory=dict)  # what hosts say beside numbers
    old: set[NodeId] = field(default_factory=set)  # their programs are from before levels
    me: NodeId = HOSTS[0]

    def members(self) -> tuple[Member, ...]:
        return tuple(self._member(node, name) for node, name in zip(HOSTS, HOST_NAMES, strict=True))

    def member(self, node_id: NodeId) -> Member | None:
        return next((each for each in self.members() if each.record.node_id == node_id), None)

    def is_alive(self, node_id: NodeId) -> bool:
        return node_id in HOSTS and node_id not in self.silent

    def subscribe(self, listener: Callable[[Member], None]) -> Callable[[], None]:
        return lambda: None

    def _member(self, node_id: NodeId, name: str) -> Member:
        roles = ("conductor", "scheduler", "api") if node_id == HOSTS[0] else ("api",)
        record = NodeRecord(
            node_id=node_id,
            name=name,
            endpoint="tcp://127.0.0.1:1",
            curve_public=b"c" * 32,
            certificate=b"",
            epoch=Epoch(1),
            version=1,
            zone="nova",
            software="0",
            roles=tuple(RoleClaim(role=role, fence=1, since_ms=1) for role in roles),
            labels={} if node_id in self.old else {LEVELS_LABEL: str(THIS_PROGRAM)},
        )
        alive = self.states.get(node_id, MemberState.ALIVE)
        state = MemberState.HOST_DOWN if node_id in self.silent else alive
        now_ms = self.clock.monotonic_ms()
        load = Load(extra=self.words.get(node_id, {}))
        return Member(record=record, state=state, heard_ms=now_ms, changed_ms=now_ms, load=load)


@dataclass
class FakeHosts:
    """One console for all servers; `error` is raised instead when set."""

    console: str = "one\ntwo\nthree\n"
    progress: MigrationView | None = None
    error: Exception | None = None
    asked: list[tuple[NodeId, ServerId, int | None]] = field(default_factory=list)
    told: list[tuple[NodeId, list[str]]] = field(default_factory=list)  # to cache which images

    async def console_log(self, host_id: NodeId, server_id: ServerId, *, lines: int | None) -> str:
        self.asked.append((host_id, server_id, lines))
        if self.error is not None:
            raise self.error
        kept = self.console.splitlines(keepends=True)
        return "".join(kept if lines is None else kept[max(0, len(kept) - lines) :])

    async def migration(self, host_id: NodeId, server_id: ServerId) -> MigrationView | None:
        if self.error is not None:
            raise self.error
        return self.progress

    async def cache_images(self, host_id: NodeId, sources: Sequence[ImageSource]) -> None:
        self.told.append((host_id, [each.image_id for each in sources]))
        if self.error is not None:
            raise self.error

    def fall_silent(self) -> None:
        self.error = PeerUnreachableError("no link")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def fault(self) -> tuple[str, str]:
        """(name, message) of a Nova fault; fails when it is not one."""
        ((name, body),) = self.json.items()
        assert body["code"] == self.status
        return name, body["message"]


@dataclass(frozen=True)
class Person:
    """A client with one token and one API version."""

    session: ClientSession
    url: str
    token: str
    user_id: UserId
    project_id: ProjectId
    version: str | None = None

    def at(self, version: str | None) -> Person:
        return Person(self.session, self.url, self.token, self.user_id, self.project_id, version)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        root: str = "/compute/v2.1",
    ) -> Answer:
        sent = {"X-Auth-Token": self.token, **(headers or {})}
        if self.version is not None:
            sent["OpenStack-API-Version"] = f"compute {self.version}"
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.url + root + path, data=data, headers=sent) as response:
            found = {key.lower(): value for key, value in response.headers.items()}
            return Answer(response.status, found, await response.read())

    async def get(self, path: str, **how: Any) -> Answer:
        return await self.ask("GET", path, **how)

    async def post(self, path: str, body: Any, **how: Any) -> Answer:
        return await self.ask("POST", path, body, **how)

    async def put(self, path: str, body: Any = None, **how: Any) -> Answer:
        return await self.ask("PUT", path, body, **how)

    async def delete(self, path: str) -> Answer:
        return await self.ask("DELETE", path)


@dataclass(frozen=True)
class World:
    cloud: Cloud
    fleet: FakeFleet
    hosts: FakeHosts
    admin: Person
    alice: Person  # member of project one
    bob: Person  # member of project two
    reader: Person  # reader of project one

    async def do(self, command: Command) -> None:
        await self.cloud.state.propose(command, request_id=new_request_id())

    async def boot(self, who: Person, name: str = "web-1", **fields: Any) -> str:
        """A server as its request left it: building, on no host. Returns its id."""
        wanted = {"name": name, "imageRef": IMAGE, "flavorRef": FLAVOR, "networks": "auto", **fields}
        answer = await who.at("2.90").post("/servers", {"server": wanted})
        assert answer.status == 202, answer.data
        return str(answer.json["server"]["id"])

    async def scheduler_fence(self) -> Fence:
        grants = await self.cloud.state.read(ListRoleGrants())
        return next(grant.fence for grant in grants if grant.role == "scheduler")

    async def place(self, server_id: str, host: int = 0) -> None:
        """What the scheduler would do."""
        server = await self.server(server_id)
        await self.do(
            ServerPlace(
                server_id=server.server_id,
                host_id=HOSTS[host],
                fence=await self.scheduler_fence(),
                read_generation=server.generation,
            )
        )

    async def settle(self, server_id: str, power: PowerState = PowerState.RUNNING) -> None:
        """What its host would report when the work is done."""
        server = await self.server(server_id)
        assert server.host_id is not None
        await self.do(
            ServerObserved(
                server_id=server.server_id,
                host_id=server.host_id,
                generation=server.action_generation,
                power_state=power.value,
            )
        )

    async def active(self, who: Person, name: str = "web-1", host: int = 0, **fields: Any) -> str:
        server_id = await self.boot(who, name, **fields)
        await self.place(server_id, host)
        await self.settle(server_id)
        return server_id

    async def fail_placement(self, server_id: str) -> None:
        server = await self.server(server_id)
        await self.do(
            ServerUnplaceable(
                server_id=server.server_id,
                fence=await self.scheduler_fence(),
                read_generation=server.generation,
                message="No valid host was found.",
                details="h1: 512 MB of RAM missing",
            )
        )

    async def fail_move(self, server_id: str, message: str = "No valid host was found.") -> None:
        """The scheduler finds no host for the move under way."""
        server = await self.server(server_id)
        move = await self.cloud.state.read(GetOpenMove(server_id=server.server_id))
        assert move is not None
        await self.do(
            MoveUnplaceable(
                move_id=move.move_id,
                server_id=server.server_id,
                fence=await self.scheduler_fence(),
                read_generation=server.generation,
                message=message,
            )
        )

    async def server(self, server_id: str) -> Server:
        view = await self.cloud.state.read(GetServer(server_id=ServerId(server_id)))
        assert view is not None
        return view.server

    async def add_network(self, project_id: ProjectId, name: str, cidr: str, **fields: Any) -> NetworkId:
        network_id = NetworkId(new_uuid())
        await self.do(NetworkCreate(network_id=network_id, project_id=project_id, name=name, **fields))
        await self.do(_subnet(SubnetId(new_uuid()), network_id, project_id, cidr))
        return network_id


def _subnet(subnet_id: SubnetId, network_id: NetworkId, project_id: ProjectId, cidr: str) -> SubnetCreate:
    first, *_, last = ipaddress.ip_network(cidr).hosts()
    return SubnetCreate(
        subnet_id=subnet_id,
        network_id=network_id,
        project_id=project_id,
        name="sub",
        cidr=cidr,
        gateway_ip=str(first),
        pools=(AllocationPool(str(first + 1), str(last)),),
    )


@asynccontextmanager
async def open_world(directory: Path, *, is_table_kept: bool = True) -> AsyncIterator[World]:
    """`is_table_kept`: of hosts, as an agent does it."""
    clock, hosts = SystemClock(), FakeHosts()
    fleet = FakeFleet(clock)
    async with open_state(directory) as state:
        # Image bytes are never asked for by Compute.
        table = SharedTable(state, fleet, clock, is_told_first=True)
        table.listen()
        cloud = Cloud(
            state=state,
            fleet=fleet,
            hosts=hosts,
            blobs=None,  # type: ignore[arg-type]
            clock=clock,
            table=table if is_table_kept else None,
        )
        apps = {
            "/compute": compute_routes.app(),
            "/identity": identity_routes.app(),
            "/placement": placement_routes.app(),
            "/fabric": own_routes.app(),
        }
        server = await ApiServer.listen(build_root(cloud, apps=apps), host="127.0.0.1", port=0)
        try:
            async with ClientSession(timeout=ClientTimeout(total=60)) as session:
                people = await _people(cloud, session, f"http://127.0.0.1:{server.port}")
                world = World(cloud=cloud, fleet=fleet, hosts=hosts, **people)
                await _furnish(world)
                yield world
        finally:
            await server.close()


async def _people(cloud: Cloud, session: ClientSession, url: str) -> dict[str, Person]:
    async def do(command: Command) -> None:
        await cloud.state.propose(command, request_id=new_request_id())

    domain, roles = DomainId("default"), {name: RoleId(new_hex_id()) for name in _ROLES}
    admin_user, admin_project = UserId(new_hex_id()), ProjectId(new_hex_id())
    await do(
        FabricInit(
            fabric_id=FabricId(new_hex_id()),
            node_id=HOSTS[0],
            root_public=b"r" * 32,
            domain_id=domain,
            admin_project_id=admin_project,
            service_project_id=ProjectId(new_hex_id()),
            admin_user_id=admin_user,
            admin_password_hash="unused",
            admin_role_id=roles["admin"],
            manager_role_id=roles["manager"],
            member_role_id=roles["member"],
            reader_role_id=roles["reader"],
            token_key=b"k" * 32,
        )
    )
    one, two = ProjectId(new_hex_id()), ProjectId(new_hex_id())
    for project, name in ((one, "one"), (two, "two")):
        await do(ProjectCreate(project_id=project, domain_id=domain, name=name))
    people = {"admin": await _person(cloud, session, url, admin_user, admin_project)}
    for name, project, role in (("alice", one, "member"), ("bob", two, "member"), ("reader", one, "reader")):
        user = UserId(new_hex_id())
        await do(UserCreate(user_id=user, domain_id=domain, name=name))
        await do(AssignmentGrant(user_id=user, project_id=project, role_id=roles[role]))
        people[name] = await _person(cloud, session, url, user, project)
    return people


_ROLES = ("admin", "manager", "member", "reader")


async def _person(
    cloud: Cloud, session: ClientSession, url: str, user_id: UserId, project_id: ProjectId
) -> Person:
    user = await cloud.state.read(GetUser(user_id=user_id))
    assert user is not None
    token, _ = await tokens.issue(cloud, user, project_id, ("password",), None)
    return Person(session, url, token, user_id, project_id)


async def member_of_new(world: World, project_name: str) -> Person:
    """A member of a new project."""
    project, user, domain = ProjectId(new_hex_id()), UserId(new_hex_id()), DomainId("default")
    await world.do(ProjectCreate(project_id=project, domain_id=domain, name=project_name))
    await world.do(UserCreate(user_id=user, domain_id=domain, name=f"of-{project_name}"))
    (role,) = [each for each in await world.cloud.state.read(ListRoles()) if each.name == "member"]
    await world.do(AssignmentGrant(user_id=user, project_id=project, role_id=role.role_id))
    return await _person(world.cloud, world.alice.session, world.alice.url, user, project)


async def _furnish(world: World) -> None:
    token_id = TokenId(new_hex_id())
    far_ms = world.cloud.clock.wall_ms() + 3_600_000
    await world.do(JoinTokenCreate(token_id=token_id, secret_hash=b"h" * 32, expires_ms=far_ms, uses=3))
    for host_id, name in zip(HOSTS, HOST_NAMES, strict=True):
        await world.do(
            NodeAdmit(
                node_id=host_id,
                name=name,
                curve_public=bytes.fromhex(host_id) * 2,
                certificate=b"cert",
                token_id=None if host_id == HOSTS[0] else token_id,
            )
        )
        await world.do(
            HostRegister(
                host_id=host_id,
                name=name,
                address="10.0.0.1",
                zone="nova" if name != "h3" else "rack2",
                hypervisor_type="sim",
                hypervisor_version=1_000_000,
                arch="x86_64",
                vcpus=8,
                memory_mb=16_384,
                disk_gb=100,
            )
        )
    await world.do(RoleHold(role="scheduler", node_id=HOSTS[0]))
    await world.do(
        FlavorCreate(flavor_id=FLAVOR, name="m1.tiny", vcpus=1, memory_mb=512, root_gb=1, description="small")
    )
    await world.do(
        ImageCreate(
            image_id=IMAGE,
            project_id=world.admin.project_id,
            name="guest",
            visibility="public",
            disk_format="qcow2",
            container_format="bare",
        )
    )
    await world.do(
        ImageActivate(
            image_id=IMAGE,
            size_bytes=20_000_000,
            virtual_bytes=200_000_000,
            md5="0" * 32,
            sha512="0" * 128,
            sha256="0" * 64,
            node_id=HOSTS[0],
        )
    )
    await world.do(
        NetworkCreate(network_id=NETWORK, project_id=world.admin.project_id, name="public", shared=True)
    )
    await world.do(_subnet(SUBNET, NETWORK, world.admin.project_id, "10.1.0.0/24"))
