"""What a driver is tested on: the same few questions and wishes for each implementation."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from drivers.contract import ComputeDriver, DomainSpec, Nic, RootDisk
from drivers.sim import SimDriver
from fabric.dev.hosts import SimulatedHosts
from proto.ids import ServerId, new_uuid
from tests.fixtures.simulated_hosts import HOST

BASE_BYTES = 8 << 20
WORD_AT = 1 << 20  # on a disk


class Bed(Protocol):
    directory: Path

    def driver(self) -> ComputeDriver:
        """A new driver over the same guests, not opened yet."""
        ...

    def driver_argv(self) -> list[str]:
        """How `driver_process` makes the same driver."""
        ...

    def spec(self, *, config_drive: bytes | None = b"config-2 stand-in", vcpus: int = 1) -> DomainSpec:
        """A new server, with what the driver expects to find made."""
        ...

    def root_disk(self, server_id: ServerId) -> Path: ...

    def write(self, server_id: ServerId, word: str) -> None:
        """As its guest, which is off, would have written it on its root disk."""
        ...

    def read(self, server_id: ServerId) -> str:
        """What such a guest would find there."""
        ...

    def process_exists(self, pid: int) -> bool: ...

    def disk_limits(self, server_id: ServerId) -> dict[str, int]:
        """What the root disk of a guest that runs is held to, by libvirt's words."""
        ...

    def traces(self, server_id: ServerId) -> list[str]:
        """What is left of a server, beside the driver's own word."""
        ...

    def close(self) -> None: ...


class SimBed:
    def __init__(self, folder: Path) -> None:
        self.directory = folder / "servers"
        self._base = folder / "base.raw"
        self._base.write_bytes(b"\0" * 4096)

    def driver(self) -> ComputeDriver:
        return SimDriver(self.directory)

    def driver_argv(self) -> list[str]:
        return ["sim", str(self.directory)]

    def spec(self, *, config_drive: bytes | None = b"config-2 stand-in", vcpus: int = 1) -> DomainSpec:
        nic = Nic(device="tap-sim", mac="fa:16:3e:00:00:01", mtu=1450)
        return a_spec(self._base, nic, config_drive=config_drive, vcpus=vcpus)

    def root_disk(self, server_id: ServerId) -> Path:
        return self.directory / server_id / "root.disk"

    def write(self, server_id: ServerId, word: str) -> None:
        disk = self.root_disk(server_id)
        disk.write_text(json.dumps({**json.loads(disk.read_text()), "word": word}))

    def read(self, server_id: ServerId) -> str:
        held = json.loads(self.root_disk(server_id).read_text())
        found: str = {**json.loads(Path(held["backing"]).read_text()), **held}["word"]
        return found

    def process_exists(self, pid: int) -> bool:
        """Simulated guests have no process: the state files are their process table."""
        return any(f'"pid": {pid}' in path.read_text() for path in self.directory.glob("*/domain.json"))

    def disk_limits(self, server_id: ServerId) -> dict[str, int]:
        return sim_disk_limits(SimDriver(self.directory), server_id)

    def traces(self, server_id: ServerId) -> list[str]:
        return [str(path) for path in self.directory.rglob(f"*{server_id}*")]

    def close(self) -> None:
        return


class LibvirtBed:
    """A real libvirtd and real QEMU processes (emulated), in a simulated host; the driver outside of it."""

    def __init__(self, folder: Path, hosts: SimulatedHosts) -> None:
        self.directory = folder / "servers"
        self.hosts = hosts
        self._base = folder / "base.raw"
        with self._base.open("wb") as file:
            file.truncate(BASE_BYTES)
        self._taps: list[str] = []

    @property
    def uri(self) -> str:
        return self.hosts.libvirt_uri(HOST)

    def driver(self) -> ComputeDriver:
        from drivers.libvirt.driver import LibvirtDriver

        return LibvirtDriver(self.uri, self.directory, force_emulation=True)

    def driver_argv(self) -> list[str]:
        return ["libvirt", str(self.directory), self.uri]

    def spec(self, *, config_drive: bytes | None = b"config-2 stand-in", vcpus: int = 1) -> DomainSpec:
        nic = Nic(device=self.make_tap(), mac="fa:16:3e:00:00:01", mtu=1450)
        return a_spec(self._base, nic, config_drive=config_drive, vcpus=vcpus)

    def make_tap(self) -> str:
        tap = f"tap{new_uuid()[:11]}"
        self.hosts.run_in(HOST, ["ip", "tuntap", "add", "dev", tap, "mode", "tap"])
        self.hosts.run_in(HOST, ["ip", "link", "set", tap, "up"])
        self._taps.append(tap)
        return tap

    def root_disk(self, server_id: ServerId) -> Path:
        return self.directory / server_id / "root.qcow2"

    def write(self, server_id: ServerId, word: str) -> None:
        self._qemu_io(server_id, f"write -P {ord(word[0])} {WORD_AT} 512")

    def read(self, server_id: ServerId) -> str:
        """Whose first letter it is tells of the words that tests use which one."""
        for word in ("one", "two"):
            if "verification failed" not in self._qemu_io(server_id, f"read -P {ord(word[0])} {WORD_AT} 512"):
                return word
        return ""

    def _qemu_io(self, server_id: ServerId, command: str) -> str:
        argv = ["qemu-io", "-f", "qcow2", "-c", command, str(self.root_disk(server_id))]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout

    def process_exists(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return b"qemu-system" in Path(f"/proc/{pid}/cmdline").read_bytes()
        return False

    def traces(self, server_id: ServerId) -> list[str]:
        found = [str(path) for path in self.directory.rglob(f"*{server_id}*")]
        names = self.hosts.run_in(HOST, ["virsh", "-q", "list", "--all", "--name"]).stdout
        found += [f"domain {name}" for name in names.split() if server_id in name]
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and server_id.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                    found.append(f"process {entry}")
        return found

    def disk_limits(self, server_id: ServerId) -> dict[str, int]:
        return libvirt_disk_limits(self.hosts, HOST, server_id)

    def tap_exists(self, tap: str) -> bool:
        done = self.hosts.run_in(HOST, ["ip", "link", "show", tap], check=False)
        return done.returncode == 0

    def close(self) -> None:
        names = self.hosts.run_in(HOST, ["virsh", "-q", "list", "--all", "--name"]).stdout.split()
        for name in names:
            for verb in ("destroy", "undefine"):
                self.hosts.run_in(HOST, ["virsh", "-q", verb, name], check=False)
        for tap in self._taps:
            self.hosts.run_in(HOST, ["ip", "link", "del", tap], check=False)


def sim_disk_limits(driver: SimDriver, server_id: ServerId) -> dict[str, int]:
    words = {"burst": "sec_max", "s": "sec_max_length"}
    found = {}
    for name, number in driver.limits(server_id).items():
        if name.startswith("disk_"):
            _, way, unit, *more = name.split("_")
            found[f"{way}_{unit}_{words[more[-1]] if more else 'sec'}"] = number
    return found


def libvirt_disk_limits(hosts: SimulatedHosts, host: str, server_id: ServerId) -> dict[str, int]:
    """As QEMU says, whom virsh asks. A burst without a length is one of a second."""
    said = hosts.run_in(host, ["virsh", "-q", "blkdeviotune", f"fabric-{server_id}", "vda", "--live"]).stdout
    words = (line.split(":") for line in said.splitlines() if ":" in line)
    found = {name.strip(): int(number) for name, number in words if number.strip().isdigit()}
    return {
        name: number
        for name, number in found.items()
        if number and not (name.endswith("_max_length") and number == 1)
    }


def a_spec(base: Path, nic: Nic, *, config_drive: bytes | None, vcpus: int = 1) -> DomainSpec:
    server_id = ServerId(new_uuid())
    return DomainSpec(
        server_id=server_id,
        name=f"web <{server_id[:4]}>",
        project_id="0123456789abcdef0123456789abcdef",
        vcpus=vcpus,
        memory_mb=64,
        root=RootDisk(base_path=str(base), base_format="raw", size_gb=1),
        nics=(nic,),
        config_drive=config_drive,
    )


@contextlib.asynccontextmanager
async def opened(driver: ComputeDriver) -> AsyncIterator[ComputeDriver]:
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


def virtual_bytes(image: Path) -> int:
    argv = ["qemu-img", "info", "-U", "--output=json", str(image)]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=30)
    return int(json.loads(done.stdout)["virtual-size"])
