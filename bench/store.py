"""How many server creates a second does the log and SQLite engine commit, and how long does each wait?

Back of an envelope: one in flight pays one fdatasync (0.1-1 ms on an SSD) and about 1 ms of SQL for a server
with its port; with many in flight the flush is shared by the group and the SQL remains: 500 to 1,000 a
second from one thread. Nova and Neutron on MariaDB commit a dozen transactions for the same.

    python bench/store.py [--creates 400] [--repeats 5] [--in-flight 1 8 32 128]

Prints one JSON object. Each repeat starts from an empty directory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._spread import commit, rate_of, spread_ms
from fabric.runtime.clock import SystemClock
from fabric.store.lone_voter import lone_voter
from fabric.store.voter_engine import VoterEngine
from proto.commands import Command
from proto.commands.catalog import FlavorCreate, ImageActivate, ImageCreate
from proto.commands.identity import FabricInit
from proto.commands.networks import (
    AllocationPool,
    FixedIpChoice,
    NetworkCreate,
    PortSpec,
    SecurityGroupCreate,
    SubnetCreate,
)
from proto.commands.quotas import QuotaSet
from proto.commands.servers import ServerCreate
from proto.ids import (
    DomainId,
    FabricId,
    FlavorId,
    ImageId,
    NetworkId,
    NodeId,
    PortId,
    ProjectId,
    RoleId,
    SecurityGroupId,
    ServerId,
    SubnetId,
    UserId,
    new_hex_id,
    new_request_id,
    new_uuid,
)

UNLIMITED = {"instances": -1, "cores": -1, "ram": -1, "port": -1}
DEADLINE_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """What every create names."""

    project_id: ProjectId
    user_id: UserId
    flavor_id: FlavorId
    image_id: ImageId
    network_id: NetworkId
    subnet_id: SubnetId
    security_group_id: SecurityGroupId


async def found(state: VoterEngine) -> Tenant:
    """A fabric with one tenant, flavor, image, network and security group."""
    node_id, project_id, user_id = NodeId(new_hex_id()), ProjectId(new_hex_id()), UserId(new_hex_id())
    tenant = Tenant(
        project_id=project_id,
        user_id=user_id,
        flavor_id=FlavorId("m1.nano"),
        image_id=ImageId(new_uuid()),
        network_id=NetworkId(new_uuid()),
        subnet_id=SubnetId(new_uuid()),
        security_group_id=SecurityGroupId(new_uuid()),
    )
    first: list[Command] = [
        FabricInit(
            fabric_id=FabricId(new_hex_id()),
            node_id=node_id,
            root_public=bytes(32),
            domain_id=DomainId("default"),
            admin_project_id=project_id,
            service_project_id=ProjectId(new_hex_id()),
            admin_user_id=user_id,
            admin_password_hash="none",  # nobody logs in here
            admin_role_id=RoleId(new_hex_id()),
            manager_role_id=RoleId(new_hex_id()),
            member_role_id=RoleId(new_hex_id()),
            reader_role_id=RoleId(new_hex_id()),
            token_key=bytes(32),
        ),
        QuotaSet(project_id=project_id, limits=UNLIMITED),
        FlavorCreate(flavor_id=tenant.flavor_id, name="m1.nano", vcpus=1, memory_mb=64, root_gb=1),
        ImageCreate(
            image_id=tenant.image_id,
            project_id=project_id,
            name="guest",
            disk_format="raw",
            container_format="bare",
        ),
        ImageActivate(
            image_id=tenant.image_id,
            size_bytes=1,
            virtual_bytes=1,
            md5="m",
            sha512="s",
            sha256="s",
            node_id=node_id,
        ),
        NetworkCreate(network_id=tenant.network_id, project_id=project_id, name="private"),
        SubnetCreate(
            subnet_id=tenant.subnet_id,
            network_id=tenant.network_id,
            project_id=project_id,
            name="private",
            cidr="10.0.0.0/16",
            gateway_ip="10.0.0.1",
            pools=(AllocationPool("10.0.0.2", "10.0.255.254"),),
        ),
        SecurityGroupCreate(
            security_group_id=tenant.security_group_id, project_id=project_id, name="default"
        ),
    ]
    for command in first:
        await state.propose(command, request_id=new_request_id())
    return tenant


def create(tenant: Tenant, number: int, now_ms: int) -> ServerCreate:
    port = PortSpec(
        port_id=PortId(new_uuid()),
        network_id=tenant.network_id,
        project_id=tenant.project_id,
        mac=f"fa:16:3e:00:{number // 256:02x}:{number % 256:02x}",
        fixed_ips=(FixedIpChoice(tenant.subnet_id, f"10.0.{1 + number // 256}.{number % 256}"),),
        security_group_ids=(tenant.security_group_id,),
    )
    return ServerCreate(
        server_id=ServerId(new_uuid()),
        project_id=tenant.project_id,
        user_id=tenant.user_id,
        request_id=new_request_id(),
        name=f"server-{number}",
        hostname=f"server-{number}",
        flavor_id=tenant.flavor_id,
        image_id=tenant.image_id,
        new_ports=(port,),
        deadline_ms=now_ms + DEADLINE_MS,
    )


async def measure(directory: Path, creates: int, in_flight: int) -> tuple[float, list[float]]:
    """Creates a second, and how long each waited, in seconds."""
    clock = SystemClock()
    state = lone_voter(directory, clock=clock)
    await state.open()
    try:
        tenant = await found(state)
        commands = [create(tenant, number, clock.wall_ms()) for number in range(creates)]
        waits: list[float] = []

        async def proposer() -> None:
            while commands:
                command = commands.pop()
                began = time.perf_counter()
                await state.propose(command, request_id=new_request_id())
                waits.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(proposer() for _ in range(in_flight)))
        return creates / (time.perf_counter() - began), waits
    finally:
        await state.close()


def repeated(creates: int, in_flight: int, repeats: int) -> dict[str, Any]:
    rates: list[float] = []
    waits: list[float] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
            rate, each = asyncio.run(measure(Path(folder) / "state", creates, in_flight))
        rates.append(rate)
        waits += each
    return {
        "in_flight": in_flight,
        "creates_per_s": rate_of(rates),
        "commit_ms": spread_ms(waits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--creates", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8, 32, 128])
    args = parser.parse_args()
    report = {
        "bench": "store",
        "commit": commit(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "creates": args.creates,
        "repeats": args.repeats,
        "engine": [repeated(args.creates, each, args.repeats) for each in args.in_flight],
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
