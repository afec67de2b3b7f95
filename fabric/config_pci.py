"""The section of the configuration file about PCI devices."""

from __future__ import annotations

from dataclasses import dataclass, field

from fabric.core.topology.pci_config import PciConfig, read_pci_config
from fabric.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PciSection:
    device_spec: list[dict[str, str]] = field(
        default_factory=list,
        metadata={
            "doc": "Devices of this machine that guests may have, each given to one (Nova's device_spec), "
            'e.g. [{ vendor_id = "10de", product_id = "1db4" }, { address = "0000:81:*.*" }]. With '
            "physical_network they are kept for ports."
        },
    )
    alias: list[dict[str, str]] = field(
        default_factory=list,
        metadata={
            "doc": "Names under which flavors ask for them (pci_passthrough:alias), e.g. "
            '[{ name = "gpu", vendor_id = "10de", product_id = "1db4", device_type = "type-PCI", '
            'numa_policy = "legacy" }]. The same on every host.'
        },
    )

    def read(self) -> PciConfig:
        """Raises ConfigError."""
        try:
            return read_pci_config(self.device_spec, self.alias)
        except ValueError as error:
            raise ConfigError(str(error)) from error
