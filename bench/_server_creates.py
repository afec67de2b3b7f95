"""Creates of servers with a port each, as the API proposes them, and the tenant that they need first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fabric.core.queries import Applied
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
    RequestId,
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


class Proposer(Protocol):
    async def propose(self, command: Command, *, request_id: RequestId) -> Applied: ...


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


async def found(state: Proposer) -> Tenant:
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
            cidr="10.0.0.0/8",
            gateway_ip="10.0.0.1",
            pools=(AllocationPool("10.0.0.2", "10.255.255.254"),),
        ),
        SecurityGroupCreate(
            security_group_id=tenant.security_group_id, project_id=project_id, name="default"
        ),
    ]
    for command in first:
        await state.propose(command, request_id=new_request_id())
    return tenant


def create(tenant: Tenant, number: int, now_ms: int) -> ServerCreate:
    """Of the server with that number, from 0 on: 16 million have an address of their own."""
    high, middle, low = number >> 16 & 0xFF, number >> 8 & 0xFF, number & 0xFF
    port = PortSpec(
        port_id=PortId(new_uuid()),
        network_id=tenant.network_id,
        project_id=tenant.project_id,
        mac=f"fa:16:3e:{high:02x}:{middle:02x}:{low:02x}",
        fixed_ips=(FixedIpChoice(tenant.subnet_id, f"10.{1 + high}.{middle}.{low}"),),
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
