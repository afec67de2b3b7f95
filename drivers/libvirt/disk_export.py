"""The root disk of a guest that is off, with all that it is built on, as one file."""

from __future__ import annotations

import json
from pathlib import Path

from drivers.libvirt.disks import ServerDirectory, run_tool
from proto.errors import DriverError

COPY_TIMEOUT_S = 3_600.0  # as long as a server may take to be shelved by default
# Without a lock: one that a killed agent left behind must not keep the guest from being started again.
_CONVERT = ("qemu-img", "convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2")


async def export_root(where: ServerDirectory, target: Path) -> int:
    """What the guest sees of it, in bytes. Raises DriverError."""
    if not where.root.exists():
        raise DriverError(f"server {where.server_id} has no disk here")
    described = await run_tool(["qemu-img", "info", "-U", "--output=json", "-f", "qcow2", str(where.root)])
    try:
        virtual_bytes = int(json.loads(described)["virtual-size"])
    except (ValueError, KeyError, TypeError) as error:
        raise DriverError(f"qemu-img describes {where.root} in a way we do not know") from error
    await run_tool([*_CONVERT, str(where.root), str(target)], timeout_s=COPY_TIMEOUT_S)
    return virtual_bytes
