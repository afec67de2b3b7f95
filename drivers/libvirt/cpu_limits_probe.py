"""Whether libvirt can hold guests to processor limits here. Asked by trying, as `kvm` does.

It takes a cgroup with the cpu controller, in libvirtd's own namespaces and allowed by its `qemu.conf`:
nothing that this process could read tells all of that.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from xml.etree import ElementTree

from drivers.contract import CpuLimits
from drivers.libvirt.connection import Connection
from drivers.libvirt.domain_limits import limit_processors
from proto.errors import DriverError, HypervisorAwayError

log = logging.getLogger(__name__)

_MEMORY_MIB = "16"  # none of it is touched
_PERIOD_US = 100_000  # what the kernel has anyway


async def can_limit_cpu(connection: Connection, directory: Path, *, accelerated: bool) -> bool:
    """Takes about as long as the start of a guest. `directory`: the driver's; each names its own domain.
    Raises HypervisorAwayError."""
    try:
        await connection.try_out(_domain(directory, accelerated=accelerated))
    except HypervisorAwayError:
        raise
    except DriverError as error:
        log.info("processors cannot be limited on this host", extra={"reason": str(error)})
        return False
    return True


def _domain(directory: Path, *, accelerated: bool) -> str:
    root = ElementTree.Element("domain", type="kvm" if accelerated else "qemu")
    whose = hashlib.blake2b(str(directory).encode(), digest_size=4).hexdigest()
    ElementTree.SubElement(root, "name").text = f"fabric-probe-{whose}"
    ElementTree.SubElement(root, "memory", unit="MiB").text = _MEMORY_MIB
    ElementTree.SubElement(root, "vcpu").text = "1"
    # A period alone: shares are dropped without a word where they cannot be set.
    limit_processors(root, CpuLimits(period_us=_PERIOD_US), is_able=True)
    system = ElementTree.SubElement(root, "os")
    ElementTree.SubElement(system, "type", arch="x86_64", machine="q35").text = "hvm"
    devices = ElementTree.SubElement(root, "devices")
    ElementTree.SubElement(devices, "controller", type="usb", model="none")
    ElementTree.SubElement(devices, "memballoon", model="none")
    return ElementTree.tostring(root, encoding="unicode")
