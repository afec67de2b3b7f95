"""Hosts as hypervisors: what each offers, what is claimed on it, which servers it runs. Admins only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import InvalidError, NotFoundError
from fabric.control.services import is_host_up, node_uuid
from fabric.core.nodes.model import Host, HostUsage
from fabric.core.nodes.queries import ListHosts
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.resources import PCPU
from fabric.core.providers.queries import ListHostOffers
from fabric.core.queries import Page
from fabric.core.servers.queries import ListServers, ServerFilter
from proto.ids import ServerId

SERVERS_PAGE = 1_000  # rows a read when a host's servers are listed


@dataclass(frozen=True, slots=True)
class HostedServer:
    server_id: ServerId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypervisor:
    """`servers` is None when nobody asked for them. `pcpus`: processors that are given to one server each."""

    uuid: str
    usage: HostUsage
    is_up: bool
    servers: tuple[HostedServer, ...] | None = None
    pcpus: int = 0

    @property
    def host(self) -> Host:
        return self.usage.host

    @property
    def vcpus(self) -> int:
        """Of both kinds: this API has one number for them. Placement has each by its class."""
        return self.host.vcpus + self.pcpus

    @property
    def vcpus_used(self) -> int:
        return self.usage.vcpus_used + self.usage.others_used.get(PCPU, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over enabled hosts. Source: Nova leaves disabled ones out of `statistics` too."""

    count: int
    vcpus: int
    vcpus_used: int
    memory_mb: int
    memory_mb_used: int
    disk_gb: int
    disk_gb_used: int
    servers: int


async def list_hypervisors(
    cloud: Cloud, caller: Caller, *, name_part: str | None = None, with_servers: bool = False
) -> tuple[Hypervisor, ...]:
    """By number. `name_part` is looked for anywhere in the name, as Nova's pattern is.

    Raises: ForbiddenError, NotFoundError (nothing has `name_part` in its name).
    """
    policy.require(caller, "compute:hypervisors:list")
    usages = await cloud.state.read(ListHosts())
    if name_part is not None:
        usages = tuple(usage for usage in usages if name_part in usage.host.name)
        if not usages:
            raise NotFoundError(f"No hypervisor matching '{name_part}' could be found.")
    return await _hypervisors(cloud, usages, with_servers=with_servers)


async def find_hypervisor(
    cloud: Cloud, caller: Caller, hypervisor_id: str, *, with_servers: bool = False
) -> Hypervisor:
    """By uuid, or by number where that is what the client's API version uses.

    Raises: ForbiddenError, NotFoundError.
    """
    policy.require(caller, "compute:hypervisors:show")
    for usage in await cloud.state.read(ListHosts()):
        if hypervisor_id in (node_uuid(usage.host.host_id), str(usage.host.number)):
            (found,) = await _hypervisors(cloud, [usage], with_servers=with_servers)
            return found
    raise NotFoundError(f"Compute host {hypervisor_id} could not be found.")


async def totals(cloud: Cloud, caller: Caller) -> Totals:
    """Raises: ForbiddenError."""
    policy.require(caller, "compute:hypervisors:list")
    usages = [usage for usage in await cloud.state.read(ListHosts()) if usage.host.enabled]
    found = await _hypervisors(cloud, usages, with_servers=False)
    return Totals(
        count=len(usages),
        vcpus=sum(each.vcpus for each in found),
        vcpus_used=sum(each.vcpus_used for each in found),
        memory_mb=sum(usage.host.memory_mb for usage in usages),
        memory_mb_used=sum(memory_mb_used(usage) for usage in usages),
        disk_gb=sum(usage.host.disk_gb for usage in usages),
        disk_gb_used=sum(usage.disk_gb_used for usage in usages),
        servers=sum(usage.servers for usage in usages),
    )


def memory_mb_used(usage: HostUsage) -> int:
    """Claims and what the host keeps for itself, as Nova counts."""
    return usage.memory_mb_used + usage.host.reserved_memory_mb


def page_of(
    rows: Sequence[Hypervisor], *, limit: int, marker: str | None, uuid_marker: bool
) -> tuple[Hypervisor, ...]:
    """At most `limit` after the one `marker` names. Raises: InvalidError (unknown marker)."""
    start = 0
    if marker is not None:
        keys = [row.uuid if uuid_marker else str(row.host.number) for row in rows]
        if marker not in keys:
            raise InvalidError(f"marker [{marker[:64]}] not found")
        start = keys.index(marker) + 1
    return tuple(rows[start : start + limit])


async def _hypervisors(
    cloud: Cloud, usages: Iterable[HostUsage], *, with_servers: bool
) -> tuple[Hypervisor, ...]:
    offers = {offer.host_id: offer.inventories for offer in await cloud.state.read(ListHostOffers())}
    return tuple(
        [
            Hypervisor(
                uuid=node_uuid(usage.host.host_id),
                usage=usage,
                is_up=is_host_up(cloud, usage.host),
                servers=await _servers_on(cloud, usage.host) if with_servers else None,
                pcpus=_total_of(offers.get(usage.host.host_id, {}), PCPU),
            )
            for usage in usages
        ]
    )


def _total_of(inventories: Mapping[str, Inventory], name: str) -> int:
    return inventories[name].total if name in inventories else 0


async def _servers_on(cloud: Cloud, host: Host) -> tuple[HostedServer, ...]:
    found: list[HostedServer] = []
    marker: str | None = None
    while True:
        page = Page(limit=SERVERS_PAGE, marker=marker)
        views = await cloud.state.read(ListServers(filter=ServerFilter(host_name=host.name), page=page))
        found.extend(HostedServer(view.server.server_id, view.server.name) for view in views)
        if len(views) < SERVERS_PAGE:
            return tuple(found)
        marker = views[-1].server.server_id
