"""Services, zones and hypervisors as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric.api.compute.versions import v
from fabric.api.compute.views.times import micros
from fabric.api.microversion import Microversion
from fabric.control.hypervisors import Hypervisor, Totals, memory_mb_used
from fabric.control.services import COMPUTE, Service, service_uuid
from fabric.control.zones import Zone


def service(value: Service, version: Microversion) -> dict[str, Any]:
    host = value.host
    result: dict[str, Any] = {
        "id": value.uuid if version >= v(53) else value.number,
        "binary": value.binary,
        "host": value.node_name,
        "zone": value.zone,
        "status": "enabled" if host is None or host.enabled else "disabled",
        "state": "up" if value.is_up else "down",
        "updated_at": micros(value.heard_wall_ms),
        "disabled_reason": None if host is None or host.enabled else host.disabled_reason,
    }
    if version >= v(11):
        result["forced_down"] = host is not None and host.forced_down
    return result


def zone(value: Zone, *, with_hosts: bool) -> dict[str, Any]:
    hosts = {name: _zone_services(services) for name, services in value.services.items()}
    return {
        "zoneName": value.name,
        "zoneState": {"available": value.is_available},
        "hosts": hosts if with_hosts else None,
    }


def _zone_services(services: Sequence[Service]) -> dict[str, Any]:
    return {
        each.binary: {
            "active": each.host is None or each.host.enabled,
            "available": each.is_up,
            "updated_at": micros(each.heard_wall_ms),
        }
        for each in services
    }


def hypervisor_brief(value: Hypervisor, version: Microversion) -> dict[str, Any]:
    host = value.host
    result: dict[str, Any] = {
        "id": value.uuid if version >= v(53) else host.number,
        "hypervisor_hostname": host.name,
        "state": "up" if value.is_up else "down",
        "status": "enabled" if host.enabled else "disabled",
    }
    if value.servers is not None and (value.servers or version >= v(75)):
        result["servers"] = [{"uuid": each.server_id, "name": each.name} for each in value.servers]
    return result


def hypervisor_detail(value: Hypervisor, version: Microversion) -> dict[str, Any]:
    host = value.host
    result = hypervisor_brief(value, version) | {
        "host_ip": host.address,
        "hypervisor_type": host.hypervisor_type,
        "hypervisor_version": host.hypervisor_version,
        "service": {
            "id": service_uuid(host.host_id, COMPUTE) if version >= v(53) else host.number,
            "host": host.name,
            "disabled_reason": None if host.enabled else host.disabled_reason,
        },
    }
    if version >= v(88):
        return result | {"uptime": None}  # hosts do not tell it; Nova's null says the same
    return result | _capacity(value, version)


def _capacity(value: Hypervisor, version: Microversion) -> dict[str, Any]:
    """Gone from 2.88: Placement tells it."""
    host, usage = value.host, value.usage
    used_mb = memory_mb_used(usage)
    cpu_info: Any = {"arch": host.arch}
    return {
        "vcpus": value.vcpus,
        "vcpus_used": value.vcpus_used,
        "memory_mb": host.memory_mb,
        "memory_mb_used": used_mb,
        "free_ram_mb": host.memory_mb - used_mb,
        "local_gb": host.disk_gb,
        "local_gb_used": usage.disk_gb_used,
        "free_disk_gb": host.disk_gb - usage.disk_gb_used,
        "disk_available_least": host.disk_gb - usage.disk_gb_used,
        "current_workload": 0,
        "running_vms": usage.servers,
        "cpu_info": cpu_info if version >= v(28) else f'{{"arch": "{host.arch}"}}',
    }


def statistics(value: Totals) -> dict[str, Any]:
    return {
        "count": value.count,
        "vcpus": value.vcpus,
        "vcpus_used": value.vcpus_used,
        "memory_mb": value.memory_mb,
        "memory_mb_used": value.memory_mb_used,
        "free_ram_mb": value.memory_mb - value.memory_mb_used,
        "local_gb": value.disk_gb,
        "local_gb_used": value.disk_gb_used,
        "free_disk_gb": value.disk_gb - value.disk_gb_used,
        "disk_available_least": value.disk_gb - value.disk_gb_used,
        "current_workload": 0,
        "running_vms": value.servers,
    }
