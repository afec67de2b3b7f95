"""The concrete driver and plug a configuration asks for."""

from __future__ import annotations

import re
from pathlib import Path

from drivers.contract import ComputeDriver, PciDevice
from drivers.libvirt.host_cpus import online_cpus
from drivers.sim import SimDriver
from fabric.compute.processors import HostProcessors, divide
from fabric.compute.supplement import ProviderConfig
from fabric.config import Config
from fabric.core.placement.cpu_set import parse_cpu_set
from fabric.errors import ConfigError
from fabric.runtime.addresses import default_address
from netplug.contract import AddressPlug, NetPlug
from netplug.fake import FakeNetPlug
from netplug.fake_address import FakeAddressPlug

PROVIDER_CONFIG = "provider_config"  # beside the configuration file
_SIMULATED = re.compile(
    r"(?P<address>[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]) "
    r"(?P<vendor>[0-9a-f]{4}):(?P<product>[0-9a-f]{4})( (?P<cell>[0-9]{1,3}))?"
)
LIBVIRT_PORTS = (16_509, 16_514)  # plain and TLS, by which hosts migrate guests to each other


def make_driver(config: Config) -> ComputeDriver:
    directory = config.state_dir / "instances"
    if config.compute.driver == "sim":
        return SimDriver(
            directory,
            vcpus=config.compute.sim_vcpus,
            memory_mb=config.compute.sim_memory_mb,
            disk_gb=config.compute.sim_disk_gb,
            cells=config.compute.sim_numa_cells,
            devices=tuple(map(_simulated, config.compute.sim_pci_devices)),
            hostname=config.node_name,
            build_ms=config.compute.sim_build_ms,
            migrate_ms=config.compute.sim_migrate_ms,
        )
    try:
        from drivers.libvirt.driver import LibvirtDriver  # needs libvirt-python, which sim nodes lack
    except ImportError as error:
        raise ConfigError(
            'compute.driver: libvirt needs the libvirt-python package; install it, or set driver = "sim"'
        ) from error
    emulate = True if config.compute.emulate else None
    return LibvirtDriver(config.compute.uri, directory, force_emulation=emulate)


def _simulated(text: str) -> PciDevice:
    found = _SIMULATED.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"compute.sim_pci_devices: {text!r} must be address, ids and cell, such as "
            '"0000:81:00.0 10de:1db4 0"'
        )
    cell_id = None if found["cell"] is None else int(found["cell"])
    return PciDevice(
        address=found["address"], vendor_id=found["vendor"], product_id=found["product"], cell_id=cell_id
    )


def processors_of(config: Config) -> HostProcessors:
    """How the operator divides this machine's processors. Raises ConfigError."""
    compute = config.compute
    shared, dedicated = parse_cpu_set(compute.cpu_shared_set), parse_cpu_set(compute.cpu_dedicated_set)
    if not config.node.host or not (shared or dedicated):
        return HostProcessors()
    online = frozenset(range(compute.sim_vcpus)) if compute.driver == "sim" else online_cpus()
    return divide(online, shared=shared, dedicated=dedicated)


def provider_config_of(config: Config, config_dir: Path | None) -> ProviderConfig:
    """What the operator adds to what this host has. Raises ConfigError."""
    named = config.compute.provider_config_location
    if not config.node.host or (not named and config_dir is None):
        return ProviderConfig()
    directory = (config_dir or Path()) / (named or PROVIDER_CONFIG)
    if not directory.exists():
        return ProviderConfig()
    from fabric.compute.provider_config import read_provider_config  # YAML: most hosts have none to read

    return read_provider_config(directory)


def make_plug(config: Config) -> NetPlug:
    directory = config.state_dir / "network"
    if config.compute.driver == "sim":
        return FakeNetPlug(directory)
    from netplug.linux import LinuxNetPlug

    mesh = (port for port in (config.mesh.port, config.mesh.door_port, config.mesh.voter_port) if port)
    return LinuxNetPlug(
        directory,
        uplinks=config.network.uplinks,
        host_name=config.node_name,
        closed_ports=(*mesh, *LIBVIRT_PORTS),
    )


def make_address_plug(config: Config) -> AddressPlug | None:
    """None: the configuration wants no virtual address."""
    address, interface = config.api.virtual_address, config.api.virtual_interface
    if not address:
        return None
    if config.compute.driver == "sim":
        return FakeAddressPlug(config.state_dir / "network", address)
    from netplug.linux_address import LinuxAddressPlug

    beside = "" if interface else config.mesh.address or default_address()
    return LinuxAddressPlug(address, interface=interface, beside=beside)
