"""A flavor's limits from the API to the guest. Without a hypervisor they are seen where they arrive; a real
guest's writes and what it sends are measured."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netplug.contract import tap_name
from proto.ids import PortId
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

SPECS = {
    "quota:cpu_quota": "20000",
    "quota:disk_write_iops_sec": "40",
    "quota:vif_outbound_average": "100",
    "quota:vif_inbound_average": "200",
}
REAL = {name: value for name, value in SPECS.items() if not name.startswith("quota:cpu_")}
WRITES, WRITES_S = 120, 40
SENT_BYTES, SENT_S = 1_500_000, 100_000
TIMES = 2  # how many times as long it takes at least
# Between two looks at the guest's own clock.
NOW = "cat /proc/uptime"
WRITE = f"{NOW}; dd if=/dev/zero of=/root/big bs=4096 count={WRITES} oflag=direct; {NOW}"
SEND = f"head -c {SENT_BYTES} /dev/zero"


def flavor(fabric: Running, specs: dict[str, str]) -> str:
    """Like the smallest, with limits."""
    cloud = fabric.cloud()
    known = cloud.get("/compute/v2.1/flavors/detail")["flavors"]
    (small,) = [each for each in known if each["name"] == "m1.nano"]
    wanted = {name: small[name] for name in ("ram", "vcpus", "disk")} | {"name": "m1.limited"}
    made = cloud.post("/compute/v2.1/flavors", {"flavor": wanted})["flavor"]["id"]
    cloud.post(f"/compute/v2.1/flavors/{made}/os-extra_specs", {"extra_specs": specs})
    eventually(
        lambda: any(room["fits"] for room in cloud.get("/fabric/v1/capacity?flavor=m1.limited")["rooms"]),
        what="a host's word that it keeps such limits",
    )
    return str(made)


@pytest.mark.timeout(300)
def test_limits_reach_the_driver_and_the_plug_and_stay_with_a_new_life() -> None:
    with running_fabric("sim", nodes=1) as fabric:
        server_id = fabric.create("limited", flavorRef=flavor(fabric, SPECS))
        server = fabric.wait_status(server_id, "ACTIVE")
        host = server["OS-EXT-SRV-ATTR:host"]
        found = held(fabric, host, server_id)
        assert found["driver"] == {"cpu_quota_us": 20_000, "disk_write_iops": 40}
        assert found["plug"] == "in 200 peak 0 burst 0, out 100 peak 0 burst 0"
        fabric.act(server_id, {"reboot": {"type": "HARD"}})
        fabric.wait_status(server_id, "ACTIVE")
        assert held(fabric, host, server_id) == found


def held(fabric: Running, host: str, server_id: str) -> dict[str, Any]:
    """What the simulated host holds the guest to."""
    directory = fabric.node(host).dir
    (domain,) = directory.rglob(f"{server_id}/domain.json")
    (network,) = directory.rglob("fake_network.json")
    ports = fabric.cloud().get(f"/network/v2.0/ports?device_id={server_id}")["ports"]
    rates = dict(json.loads(Path(network).read_text())["rates"])
    return {
        "driver": json.loads(Path(domain).read_text())["limits"],
        "plug": rates[tap_name(PortId(ports[0]["id"]))],
    }


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("libvirt", nodes=1) as running:
        yield running


@pytest.mark.slow
@pytest.mark.libvirt
@pytest.mark.root
@pytest.mark.timeout(900)
def test_a_real_guest_feels_its_limits(fabric: Running) -> None:
    limited = felt(fabric, "limited", flavorRef=flavor(fabric, REAL))
    free = felt(fabric, "free")
    assert limited["write"] > 0.8 * WRITES / WRITES_S  # QEMU lets a tenth of a second's go at first
    assert limited["send"] > 0.8 * SENT_BYTES / SENT_S  # the bucket is full at first
    assert free["write"] * TIMES < limited["write"]
    assert free["send"] * TIMES < limited["send"]


def felt(fabric: Running, name: str, **fields: Any) -> dict[str, float]:
    """How long its writes take, and what it sends, in seconds."""
    server_id = fabric.create(name, key_name="fabric-dev", **fields)
    server = fabric.wait_status(server_id, "ACTIVE")
    host, address = server["OS-EXT-SRV-ATTR:host"], server["addresses"]["private"][0]["addr"]
    fabric.until_login(host, address)
    write_s = seconds(fabric.in_guest(host, address, WRITE))
    began = time.monotonic()
    said = fabric.in_guest(host, address, SEND)  # the guest itself has only filled its buffers when it ends
    send_s = time.monotonic() - began
    assert len(said) == SENT_BYTES
    fabric.delete(server_id)
    return {"write": write_s, "send": send_s}


def seconds(said: str) -> float:
    lines = said.splitlines()
    return float(lines[-1].split()[0]) - float(lines[0].split()[0])
