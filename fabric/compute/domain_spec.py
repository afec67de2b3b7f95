"""Rows, files and devices to what the driver is asked for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from drivers.contract import CpuLimits, DiskLimit, DomainSpec, GuestNode, Nic, Pins, RootDisk
from fabric.compute.notes import BootFiles
from fabric.core.servers.guest_limits import NONE, GuestLimits
from fabric.core.servers.model import AssignedServer
from fabric.core.servers.states import TaskState
from netplug.contract import PluggedPort

MTU_DEFAULT = 1500


def domain_spec(
    assigned: AssignedServer,
    *,
    boot: BootFiles,
    plugged: Sequence[PluggedPort],
    config_drive: bytes | None,
    system_version: str,
    pins: Pins | None,
    cpu_set: tuple[int, ...],
    nodes: tuple[GuestNode, ...] = (),
    devices: tuple[str, ...] = (),
    limits: GuestLimits = NONE,
) -> DomainSpec:
    server = assigned.server
    taps = {entry.port_id: entry.device for entry in plugged}
    mtus = {network.network_id: network.mtu for network in assigned.networks}
    return DomainSpec(
        server_id=server.server_id,
        name=server.name,
        project_id=server.project_id,
        vcpus=server.flavor.vcpus,
        memory_mb=server.flavor.memory_mb,
        root=RootDisk(base_path=boot.base_path, base_format=boot.base_format, size_gb=server.flavor.root_gb),
        nics=tuple(
            Nic(device=taps[port.port_id], mac=port.mac, mtu=mtus.get(port.network_id, MTU_DEFAULT))
            for port in assigned.ports
        ),
        config_drive=config_drive,
        kernel_path=boot.kernel_path,
        ramdisk_path=boot.ramdisk_path,
        kernel_args=assigned.kernel_args,
        ephemeral_gb=server.flavor.ephemeral_gb,
        swap_mb=server.flavor.swap_mb,
        system_version=system_version,
        image_properties=dict(assigned.image_properties),
        pins=pins,
        cpu_set=cpu_set,
        has_booted=server.launched_ms is not None and server.task_state is not TaskState.REBUILD_SPAWNING,
        nodes=nodes,
        devices=devices,
        cpu_limits=None if limits.cpu is None else CpuLimits(**asdict(limits.cpu)),
        disk_limits=tuple(DiskLimit(**asdict(limit)) for limit in limits.disks),
    )
