"""What a new development cloud starts with: flavors, an image, a network, a key pair; then a first server."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabric.dev.cloud_client import CloudClient

FLAVORS = (  # name, vcpus, MB, GB: the names every OpenStack guide uses, and one for emulation
    ("m1.nano", 1, 192, 0),
    ("m1.tiny", 1, 512, 1),
    ("m1.small", 1, 2_048, 20),
    ("m1.medium", 2, 4_096, 40),
    ("m1.large", 4, 8_192, 80),
)
NETWORK = "private"
CIDR = "10.20.0.0/22"
IMAGE = "guest"
KEYPAIR = "fabric-dev"
FIRST_SERVER = "first-light"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FirstServer:
    server_id: str
    name: str
    host: str
    address: str


def register(
    cloud: CloudClient, *, guest: Path | None, public_key: str, physical: str | None, say: Say
) -> None:
    """Idempotent: what is there already stays. `guest` None: a small blank image, for the sim driver."""
    flavors = {flavor["name"] for flavor in cloud.get("/compute/v2.1/flavors")["flavors"]}
    for name, vcpus, ram, disk in FLAVORS:
        if name not in flavors:
            body = {"name": name, "vcpus": vcpus, "ram": ram, "disk": disk, "id": name}
            cloud.post("/compute/v2.1/flavors", {"flavor": body})
    say(f"flavors: {', '.join(name for name, *_ in FLAVORS)}")
    if cloud.find("/image/v2/images", "images", IMAGE) is None:
        _register_image(cloud, guest)
    say(f"image: {IMAGE}")
    if cloud.find("/network/v2.0/networks", "networks", NETWORK) is None:
        _register_network(cloud, physical)
    say(f"network: {NETWORK} {CIDR}")
    keys = {item["keypair"]["name"] for item in cloud.get("/compute/v2.1/os-keypairs")["keypairs"]}
    if KEYPAIR not in keys:
        cloud.post(
            "/compute/v2.1/os-keypairs",
            {"keypair": {"name": KEYPAIR, "public_key": public_key, "type": "ssh"}},
        )
    say(f"key pair: {KEYPAIR}")


def open_for_login(cloud: CloudClient) -> None:
    """The default group refuses everything from outside; a first server should answer ping and ssh."""
    group = cloud.find("/network/v2.0/security-groups", "security_groups", "default")
    if group is None:
        raise RuntimeError("the project has no default security group")
    have = {(rule["protocol"], rule["port_range_min"]) for rule in group["security_group_rules"]}
    for protocol, port in (("icmp", None), ("tcp", 22)):
        if (protocol, port) not in have:
            rule = {
                "security_group_id": group["id"],
                "direction": "ingress",
                "ethertype": "IPv4",
                "protocol": protocol,
                "port_range_min": port,
                "port_range_max": port,
                "remote_ip_prefix": "0.0.0.0/0",
            }
            cloud.post("/network/v2.0/security-group-rules", {"security_group_rule": rule})


def boot_first(cloud: CloudClient, *, timeout_s: float) -> FirstServer:
    """Boots the first server (or finds it) and waits for ACTIVE. Raises CloudAnswerError."""
    found = cloud.find("/compute/v2.1/servers", "servers", FIRST_SERVER)
    if found is None:
        image = cloud.find("/image/v2/images", "images", IMAGE)
        network = cloud.find("/network/v2.0/networks", "networks", NETWORK)
        assert image is not None
        assert network is not None
        body = {
            "name": FIRST_SERVER,
            "imageRef": image["id"],
            "flavorRef": FLAVORS[0][0],
            "key_name": KEYPAIR,
            "networks": [{"uuid": network["id"]}],
        }
        found = cloud.post("/compute/v2.1/servers", {"server": body})["server"]
    path = f"/compute/v2.1/servers/{found['id']}"

    def settled(server: dict[str, Any]) -> bool:
        return server["status"] in ("ACTIVE", "ERROR")

    server = cloud.wait(
        lambda: cloud.get(path)["server"], settled, timeout_s=timeout_s, what=f"server {FIRST_SERVER}"
    )
    if server["status"] == "ERROR":
        fault = server.get("fault", {}).get("message", "no reason given")
        raise RuntimeError(f"server {FIRST_SERVER} ended in ERROR: {fault}")
    address = next(iter(server["addresses"].values()))[0]["addr"]
    return FirstServer(server["id"], FIRST_SERVER, server["OS-EXT-SRV-ATTR:host"], address)


def _register_image(cloud: CloudClient, guest: Path | None) -> None:
    if guest is None:
        with tempfile.TemporaryDirectory() as folder:
            blank = Path(folder) / "blank.img"
            blank.write_bytes(hashlib.sha256(b"fabric sim guest").digest() * 2_048)
            _upload(cloud, blank, {"name": IMAGE, "disk_format": "raw", "container_format": "bare"})
        return
    kernel = _upload(
        cloud,
        guest / "vmlinuz",
        {"name": f"{IMAGE}-kernel", "disk_format": "aki", "container_format": "aki"},
    )
    ramdisk = _upload(
        cloud,
        guest / "initrd.img",
        {"name": f"{IMAGE}-ramdisk", "disk_format": "ari", "container_format": "ari"},
    )
    _upload(
        cloud,
        guest / "guest.qcow2",
        {
            "name": IMAGE,
            "disk_format": "qcow2",
            "container_format": "bare",
            "kernel_id": kernel,
            "ramdisk_id": ramdisk,
            "os_command_line": (guest / "cmdline").read_text().strip(),
        },
    )


def _upload(cloud: CloudClient, path: Path, fields: dict[str, str]) -> str:
    image = cloud.post("/image/v2/images", fields | {"visibility": "public"})
    cloud.upload(image["id"], path)
    return str(image["id"])


def _register_network(cloud: CloudClient, physical: str | None) -> None:
    body: dict[str, Any] = {"name": NETWORK, "shared": True}
    if physical is not None:
        body |= {"provider:network_type": "flat", "provider:physical_network": physical}
    network = cloud.post("/network/v2.0/networks", {"network": body})["network"]
    subnet = {
        "network_id": network["id"],
        "name": f"{NETWORK}-v4",
        "cidr": CIDR,
        "ip_version": 4,
        "enable_dhcp": True,
    }
    cloud.post("/network/v2.0/subnets", {"subnet": subnet})
