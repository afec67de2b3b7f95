"""Two hosts for guests to move between: simulated drivers, or two real libvirtds in namespaces."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Protocol

from drivers.contract import ComputeDriver, DiskLimit, DomainSpec, Nic, RootDisk
from drivers.sim import SimDriver
from fabric.dev.guest_image import GuestImage
from fabric.dev.hosts import SimulatedHosts
from proto.ids import ServerId, new_uuid
from tests.contract.drivers.beds import libvirt_disk_limits, sim_disk_limits
from tests.fixtures.config_drives import config_drive

NAMES = ("h1", "h2")
# Far above what they need: they are here to be kept.
LIMITS = (DiskLimit(way="write", unit="iops", per_s=50_000, burst=60_000, burst_s=5),)
KEPT = {"write_iops_sec": 50_000, "write_iops_sec_max": 60_000, "write_iops_sec_max_length": 5}
# What it has on its disk is read from there each time, and the sum of it said with its uptime.
TICKER = b"""#!/bin/sh
head -c 1048576 /dev/urandom >/root/blob; sync
(while :; do
  read up rest </proc/uptime
  echo 3 >/proc/sys/vm/drop_caches
  echo "tick $up $(md5sum </root/blob)"
  sleep 1
done) </dev/null >/dev/console 2>&1 &
"""


class PairBed(Protocol):
    def driver(self, name: str) -> ComputeDriver:
        """A new driver over that host's guests, not opened yet."""
        ...

    def directory(self, name: str) -> Path: ...

    def spec(self) -> DomainSpec:
        """A new server, with a tap on each host."""
        ...

    def disk_limits(self, name: str, server_id: ServerId) -> dict[str, int]: ...

    def traces(self, name: str, server_id: ServerId) -> list[str]:
        """What is left of a server on a host, beside the driver's own word."""
        ...

    def close(self) -> None: ...


class SimPair:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._base = folder / "base.raw"
        self._base.write_bytes(b"\0" * 4096)

    def driver(self, name: str) -> ComputeDriver:
        return SimDriver(self.directory(name), migrate_ms=400)

    def directory(self, name: str) -> Path:
        return self._folder / name

    def spec(self) -> DomainSpec:
        nic = Nic(device="tap-sim", mac="fa:16:3e:00:00:01", mtu=1450)
        server_id = ServerId(new_uuid())
        root = RootDisk(base_path=str(self._base), base_format="raw", size_gb=1)
        return DomainSpec(
            server_id=server_id,
            name="web",
            project_id="p",
            vcpus=1,
            memory_mb=64,
            root=root,
            nics=(nic,),
            disk_limits=LIMITS,
        )

    def disk_limits(self, name: str, server_id: ServerId) -> dict[str, int]:
        return sim_disk_limits(SimDriver(self.directory(name)), server_id)

    def traces(self, name: str, server_id: ServerId) -> list[str]:
        return [str(path) for path in self.directory(name).rglob(f"*{server_id}*")]

    def close(self) -> None:
        return


class LibvirtPair:
    """A guest that really boots (emulated), its console saying its uptime each half second."""

    def __init__(self, folder: Path, hosts: SimulatedHosts, image: GuestImage) -> None:
        self._folder, self.hosts, self._image = folder, hosts, image
        self._taps: list[str] = []

    def driver(self, name: str) -> ComputeDriver:
        from drivers.libvirt.driver import LibvirtDriver

        return LibvirtDriver(
            self.hosts.libvirt_uri(name),
            self.directory(name),
            force_emulation=True,
            host_root=Path(f"/proc/{self.hosts.pid(name)}/root"),
        )

    def directory(self, name: str) -> Path:
        return self._folder / name

    def spec(self) -> DomainSpec:
        tap = f"tap{new_uuid()[:11]}"
        for name in NAMES:
            self.hosts.run_in(name, ["ip", "tuntap", "add", "dev", tap, "mode", "tap"])
            self.hosts.run_in(name, ["ip", "link", "set", tap, "up"])
        self._taps.append(tap)
        server_id = ServerId(new_uuid())
        return DomainSpec(
            server_id=server_id,
            name="web",
            project_id="0123456789abcdef0123456789abcdef",
            vcpus=1,
            memory_mb=192,
            root=RootDisk(base_path=str(self._image.disk), base_format="qcow2", size_gb=1),
            nics=(Nic(device=tap, mac="fa:16:3e:00:00:01", mtu=1450),),
            config_drive=config_drive(server_id, TICKER),
            kernel_path=str(self._image.kernel),
            ramdisk_path=str(self._image.ramdisk),
            kernel_args=self._image.cmdline,
            swap_mb=8,
            disk_limits=LIMITS,
        )

    def disk_limits(self, name: str, server_id: ServerId) -> dict[str, int]:
        return libvirt_disk_limits(self.hosts, name, server_id)

    def traces(self, name: str, server_id: ServerId) -> list[str]:
        found = [str(path) for path in self.directory(name).rglob(f"*{server_id}*")]
        names = self.hosts.run_in(name, ["virsh", "-q", "list", "--all", "--name"]).stdout
        found += [f"domain {each}" for each in names.split() if server_id in each]
        root = Path(f"/proc/{self.hosts.pid(name)}/root/run/fabric-migration")
        with contextlib.suppress(FileNotFoundError):
            found += [f"sockets {path.name}" for path in root.iterdir()]
        return found

    def close(self) -> None:
        for name in NAMES:
            if self.hosts.pid(name) is None:
                continue
            domains = self.hosts.run_in(name, ["virsh", "-q", "list", "--all", "--name"]).stdout.split()
            for domain in domains:
                for verb in ("destroy", "undefine"):
                    self.hosts.run_in(name, ["virsh", "-q", verb, domain], check=False)
            for tap in self._taps:
                self.hosts.run_in(name, ["ip", "link", "del", tap], check=False)
