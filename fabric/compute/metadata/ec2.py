"""The EC2 tree: `VERSION/meta-data/...` and `VERSION/user-data`. Pure.

A branch is a mapping, a leaf is text. The key `_name` of a branch is the line its parent lists it by
("0=mykey"), as cloud-init expects of `public-keys/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from fabric.compute.metadata.facts import GuestFacts

LATEST = "latest"
VERSIONS: tuple[str, ...] = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
)
LINE_NAME = "_name"

Tree = Mapping[str, "str | Tree"]


def ec2_id(prefix: str, identifier: str) -> str:
    """EC2's short form of one of our ids: "i-" and the first eight hex digits."""
    return f"{prefix}-{identifier.replace('-', '')[:8]}"


def meta_data(facts: GuestFacts, version: str) -> Tree:
    """The tree of one of VERSIONS, or of `latest`."""
    assigned = facts.assigned
    server = assigned.server
    dated = VERSIONS[-1] if version == LATEST else version
    address = _first_ipv4(facts)
    tree: dict[str, str | Tree] = {
        "ami-id": ec2_id("ami", server.image_id),
        "ami-launch-index": str(server.launch_index),
        "ami-manifest-path": "(unknown)",  # EC2's own word where there is no manifest in S3
        "hostname": server.hostname,
        "instance-id": ec2_id("i", server.server_id),
        "local-ipv4": address,
        "reservation-id": server.reservation_id,
        "security-groups": "\n".join(facts.security_group_names),
    }
    if dated >= "2007-01-19":
        tree |= {
            "local-hostname": server.hostname,
            "public-hostname": server.hostname,
            "public-ipv4": "",  # floating addresses come with their own issue; Nova gives "" without one
        }
    if server.public_key is not None and server.key_name is not None:
        tree["public-keys"] = {
            "0": {LINE_NAME: f"0={server.key_name}", "openssh-key": server.public_key.strip()}
        }
    if dated >= "2007-08-29":
        tree["instance-type"] = server.flavor.name
    if dated >= "2007-12-15":
        tree["block-device-mapping"] = _block_devices(facts)
        for name, prefix, source in (
            ("kernel-id", "aki", assigned.kernel),
            ("ramdisk-id", "ari", assigned.ramdisk),
        ):
            if source is not None:
                tree[name] = ec2_id(prefix, source.image_id)
    if dated >= "2008-02-01":
        tree["placement"] = {"availability-zone": server.zone or ""}
    if dated >= "2008-09-01":
        tree["instance-action"] = "none"
    return tree


def root(facts: GuestFacts, version: str) -> Tree:
    """What lies under a version. User data is raw bytes and so not part of a tree of text: it appears
    here as an empty leaf, when there is some."""
    tree: dict[str, str | Tree] = {"meta-data": meta_data(facts, version)}
    if facts.assigned.server.user_data is not None:
        tree["user-data"] = ""
    return tree


def listing(tree: Tree) -> str:
    """One entry a line, branches with a slash at the end."""
    lines = []
    for key, value in sorted(tree.items()):
        if key == LINE_NAME:
            continue
        if isinstance(value, str):
            lines.append(key)
        else:
            name = value.get(LINE_NAME)
            lines.append(name if isinstance(name, str) else f"{key}/")
    return "\n".join(lines)


def _block_devices(facts: GuestFacts) -> Tree:
    flavor = facts.assigned.server.flavor
    letters = iter("bcd")
    devices = {"ami": "vda", "root": "/dev/vda"}
    if flavor.ephemeral_gb:
        devices["ephemeral0"] = f"/dev/vd{next(letters)}"
    if flavor.swap_mb:
        devices["swap"] = f"/dev/vd{next(letters)}"
    return devices


def _first_ipv4(facts: GuestFacts) -> str:
    for port in facts.assigned.ports:
        for fixed in port.fixed_ips:
            if ip_address(fixed.address).version == 4:
                return fixed.address
    return ""
