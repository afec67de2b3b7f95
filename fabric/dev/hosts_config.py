"""What a simulated host's libvirtd reads: root without systemd, cgroups, polkit or AppArmor."""

from __future__ import annotations

import uuid
from pathlib import Path

# What each host has for itself; everything else of the file system is shared with the machine.
PRIVATE_DIRECTORIES = {
    "run": "/run",
    "etc-libvirt": "/etc/libvirt",
    "etc-pki": "/etc/pki",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}

_LIBVIRTD = """\
host_uuid = "{host_uuid}"
auth_unix_rw = "none"
auth_tcp = "none"
listen_tcp = 1
listen_tls = 0
listen_addr = "{address}"
unix_sock_group = "root"
log_filters = "3:qemu 3:libvirt 4:object 4:json 4:event 1:util"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
_QEMU = """\
user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
migration_host = "{address}"
migration_address = "{address}"
"""


def write_libvirt_config(base: Path, address: str) -> None:
    """Writes what is missing: a test may put its own `qemu.conf` there first. The host's UUID follows
    from its place, so it is the same after a power failure."""
    directory = base / "etc-libvirt"
    directory.mkdir(parents=True, exist_ok=True)
    host_uuid = uuid.uuid5(uuid.NAMESPACE_URL, base.as_uri())
    texts = {
        "libvirtd.conf": _LIBVIRTD.format(host_uuid=host_uuid, address=address),
        "qemu.conf": _QEMU.format(address=address),
        "libvirt.conf": "",
    }
    for name, text in texts.items():
        if not (directory / name).exists():
            (directory / name).write_text(text)
