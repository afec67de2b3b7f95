"""Availability zones: the zones that hosts are in. A zone is available while one of its hosts is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.services import INTERNAL_ZONE, Service, all_services
from fabric.core.nodes.model import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """`services` by node name; only for admins, else empty."""

    name: str
    is_available: bool
    services: Mapping[str, tuple[Service, ...]]


async def list_zones(cloud: Cloud, caller: Caller) -> tuple[Zone, ...]:
    """The zones servers may be put in, by name, without their hosts."""
    policy.require(caller, "compute:zones:list")
    services = [service for service in await all_services(cloud) if service.host is not None]
    return tuple(
        Zone(name=zone.name, is_available=zone.is_available, services={}) for zone in _by_zone(services)
    )


async def list_zones_with_hosts(cloud: Cloud, caller: Caller) -> tuple[Zone, ...]:
    """Also the zone of services that run no servers. Raises: ForbiddenError."""
    policy.require(caller, "compute:zones:detail")
    return _by_zone(await all_services(cloud))


def usable_zones(hosts: Iterable[Host]) -> frozenset[str]:
    """Zones with at least one enabled host."""
    return frozenset(host.zone for host in hosts if host.enabled)


def _by_zone(services: list[Service]) -> tuple[Zone, ...]:
    nodes: dict[str, dict[str, list[Service]]] = {}
    for service in services:
        nodes.setdefault(service.zone, {}).setdefault(service.node_name, []).append(service)
    return tuple(
        Zone(
            name=name,
            is_available=name == INTERNAL_ZONE
            or any(_takes_servers(service) for group in nodes[name].values() for service in group),
            services={node: tuple(group) for node, group in sorted(nodes[name].items())},
        )
        for name in sorted(nodes)
    )


def _takes_servers(service: Service) -> bool:
    """Source: Nova's zones: a zone of disabled hosts only is not available."""
    return service.host is not None and service.host.enabled
